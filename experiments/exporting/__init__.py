"""The exporting command: a restorer as one folder that others can run."""
