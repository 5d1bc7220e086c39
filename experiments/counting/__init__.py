"""Behind ``python -m experiments.complexity``: what a restorer costs."""
