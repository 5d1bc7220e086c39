"""The ablation: one job per variant and seed, statuses on disk, resume, gathering."""
