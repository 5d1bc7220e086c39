"""The six published presets as one aligned line each, and custom settings by config."""

from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from osdface.degradation.ranges import Degradation
from osdface.errors import UserError

# Sources: D = DAEFR's released configs, 2 = a secondary source, else the named repository's config.
# fmt: off
_ = Degradation
PRESETS: dict[str, Degradation] = {
    #                    kernel    sigma      down       noise    JPEG q     gray    source
    "daefr_codebook": _((39, 41), (0.1, 10), (0.8, 8),  (0, 20), (60, 100)),         # D, stage 1
    "daefr_final":    _((39, 41), (0.1, 15), (0.8, 30), (0, 20), (30, 100)),         # D
    "waveface":       _((41, 41), (0.1, 10), (0.8, 16), (0, 15), (40, 95)),          # 2, stage 2
    "codeformer":     _((41, 41), (1, 15),   (4, 30),   (0, 20), (30, 80)),          # CodeFormer
    "osediff_face":   _((41, 41), (1, 15),   (1, 30),   (0, 20), (30, 100)),         # OSEDiff
    "difface":        _((41, 41), (0.1, 15), (0.8, 32), (0, 20), (30, 100), 0.01),   # DifFace
}
# fmt: on


def build_degradation(config: str | Mapping[str, Any]) -> Degradation:
    """Returns the settings of a preset name or of a mapping.

    Args:
        config: A preset name, or a mapping with ``preset`` and, if wanted, ``strength_scale``
            (float, default 1, see :meth:`Degradation.scaled`) and any range or share of
            :class:`Degradation`, which replaces the preset's at 512 px. Without ``preset`` all five
            ranges must be given. ``then`` names further orders, done one after the other: a preset
            name, such a mapping, or a list of those; ``strength_scale`` holds for all of them.

    Raises:
        UserError: Unknown preset or key, missing or impossible range.
    """
    settings = {"preset": config} if isinstance(config, str) else dict(config)
    scale = _number("strength_scale", settings.pop("strength_scale", 1.0))
    orders = [settings, *_further(settings.pop("then", None))]
    chain: Degradation | None = None
    for order in reversed(orders):
        chain = replace(_one_order(order), then=chain)
    assert chain is not None
    return chain.scaled(scale)


def _further(then: Any) -> list[dict[str, Any]]:
    """Returns the orders after the first as mappings."""
    orders = [then] if isinstance(then, str | Mapping) else [] if then is None else then
    if not isinstance(orders, list | tuple):
        raise UserError(f"degradation.then is {then!r}: give preset names or mappings.")
    found = []
    for order in orders:
        if not isinstance(order, str | Mapping):
            raise UserError(f"degradation.then holds {order!r}: give preset names or mappings.")
        found.append({"preset": order} if isinstance(order, str) else dict(order))
    return found


def _one_order(settings: dict[str, Any]) -> Degradation:
    name = settings.pop("preset", None)
    known = {field.name for field in fields(Degradation)} - {"then"}
    for key in settings:
        if key not in known:
            names = ["preset", "strength_scale", "then", *sorted(known)]
            raise UserError(f"Unknown key degradation.{key}{_suggest(key, names)}")
    values = {key: _value(key, value) for key, value in settings.items() if value is not None}
    if name is not None:
        if name not in PRESETS:
            raise UserError(f"Unknown degradation preset {name!r}{_suggest(str(name), PRESETS)}")
        return replace(PRESETS[name], **values)
    if missing := {"kernel", "sigma", "down", "noise", "jpeg"} - set(values):
        raise UserError(
            f"degradation has neither a preset nor {', '.join(sorted(missing))}: name a preset "
            "or give all five ranges."
        )
    return Degradation(**values)


def _suggest(name: str, names: Any) -> str:
    near = get_close_matches(name, list(names), n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f": {hint}Known are {', '.join(names)}."


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UserError(f"degradation.{key} is {value!r}: give a number.") from None


def _value(key: str, value: Any) -> Any:
    if key in ("gray", "anisotropic"):
        return _number(key, value)
    pair = list(value) if hasattr(value, "__iter__") and not isinstance(value, str) else [value] * 2
    if len(pair) != 2:
        raise UserError(f"degradation.{key} is {value!r}: give [low, high].")
    numbers = [_number(key, item) for item in pair]
    if key not in ("kernel", "jpeg"):
        return tuple(numbers)
    if any(number != int(number) for number in numbers):
        raise UserError(f"degradation.{key} is {value!r}: give whole numbers.")
    return tuple(int(number) for number in numbers)
