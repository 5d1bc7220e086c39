"""Scores of restored images."""
