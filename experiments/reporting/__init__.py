"""Tables, charts and pictures made from what runs left on disk."""

from experiments.reporting.ablation import write_report

__all__ = ["write_report"]
