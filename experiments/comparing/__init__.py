"""Behind ``experiments.compare``: any set of runs, from what they left on disk."""
