"""Weight files of others: which there are, where they come from, and fetching them."""

from osdface.weights.registry import Weight, entry, registry

__all__ = ["Weight", "entry", "registry"]
