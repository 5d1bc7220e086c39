"""Which samples are held out for validation, and who is on them."""

import re
from collections import defaultdict
from collections.abc import Sequence

from osdface.degradation import stable_hash
from osdface.errors import UserError

_NUMBERED = re.compile(r"(?P<identity>.*[^_])_+\d+")
IDENTITY_RULES = ("stem_prefix", "none")


def identity_name(key: str, identity_from: str | None = "stem_prefix") -> str | None:
    """Returns the person's name: ``<identity>_<number>`` -> ``<identity>``, None if not so named.

    Args:
        key: Sample key or file stem.
        identity_from: "stem_prefix", or "none" or None for data that do not name people.

    Raises:
        UserError: Another rule is asked for.
    """
    if identity_from in (None, "none"):
        return None
    if identity_from != "stem_prefix":
        raise UserError(
            f"data.identity_from is {identity_from!r}: choose one of {', '.join(IDENTITY_RULES)}."
        )
    match = _NUMBERED.fullmatch(key)
    return match["identity"] if match else None


def identity_labels(keys: Sequence[str], identity_from: str | None) -> list[int]:
    """Numbers the people in the order of their names; -1 where a key names nobody."""
    names = [identity_name(key, identity_from) for key in keys]
    numbers = {name: number for number, name in enumerate(sorted({n for n in names if n}))}
    return [numbers[name] if name else -1 for name in names]


def held_out(
    keys: Sequence[str],
    seed: int,
    count: int | None = None,
    fraction: float = 0.05,
    identity_from: str | None = "stem_prefix",
) -> tuple[list[int], list[int]]:
    """Splits samples into training and validation; nobody is in both.

    People (or single samples, where keys name nobody) are taken in the order of a hash of their
    name, so that the split neither depends on file order nor changes much when files are added. One
    who would exceed the wanted count is passed over and stays in training.

    Args:
        keys: All keys.
        seed: Another seed, another split.
        count: Validation samples wanted; None takes ``fraction`` of all.
        fraction: Used without ``count``; in [0, 1).
        identity_from: See :func:`identity_name`.

    Returns:
        Indices for training and for validation, each in the order of ``keys``.

    Raises:
        UserError: Nothing would be left for training.
    """
    if count is None and not 0 <= fraction < 1:
        raise UserError(f"data.val_fraction is {fraction}: give a share of at least 0 and below 1.")
    wanted = round(len(keys) * fraction) if count is None else count
    if wanted < 0 or wanted >= len(keys):
        raise UserError(
            f"data.val_count is {wanted} but there are {len(keys)} images: leave some for training."
        )
    groups: dict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        groups[identity_name(key, identity_from) or f"/{key}"].append(index)
    order = sorted(groups, key=lambda name: stable_hash(seed, "held out", name))
    chosen: list[int] = []
    for name in order:
        if len(chosen) + len(groups[name]) <= wanted:
            chosen += groups[name]
    if wanted and not chosen:  # everyone has more pictures than wanted
        chosen = groups[min(order, key=lambda name: len(groups[name]))]
    if len(chosen) == len(keys):
        raise UserError("All images show one person: data.identity_from=none splits by image.")
    validation = set(chosen)
    training = [index for index in range(len(keys)) if index not in validation]
    return training, sorted(validation)
