"""Weights on disk: our export folder, and the released files."""

from osdface.checkpoints.export import load_restorer, load_vre, save_restorer, save_vre
from osdface.checkpoints.released import (
    load_prompt_convs,
    load_released_dictionary,
    load_released_embedder,
    save_prompt_convs,
    save_released_dictionaries,
)

__all__ = [
    "load_prompt_convs",
    "load_released_dictionary",
    "load_released_embedder",
    "load_restorer",
    "load_vre",
    "save_prompt_convs",
    "save_released_dictionaries",
    "save_restorer",
    "save_vre",
]
