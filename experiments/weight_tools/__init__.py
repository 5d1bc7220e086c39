"""The weights command: what there is, what is missing, fetching it."""
