"""The restoring command: photographs in, restored photographs out."""
