"""Behind ``experiments.sweep``: W&B's sweep files run offline, by W&B's agents, or on Slurm."""
