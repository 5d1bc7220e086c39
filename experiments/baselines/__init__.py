"""The benchmark: methods run by their own commands, their images scored, the paper's tables."""
