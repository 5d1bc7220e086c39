"""Submitting to Slurm: the plan of jobs, their batch scripts, sbatch and squeue."""
