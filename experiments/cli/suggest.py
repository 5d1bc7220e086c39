"""The nearest names, for sentences about unknown ones."""

from collections.abc import Iterable
from difflib import get_close_matches

from osdface.errors import UserError

_LISTED = 30  # only a run's keys are more, and its --help has them


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Returns the error "there is no ``kind`` ``name``" with the nearest, or else all, names."""
    names = sorted(known)
    # People also write only the last part of a dotted key: `preset` for `data.degradation.preset`.
    same_end = [each for each in names if each.rpartition(".")[2] == name.rpartition(".")[2]]
    near = list(dict.fromkeys([*get_close_matches(name, names, 3, 0.6), *same_end]))[:4]
    if near:
        return UserError(f"There is no {kind} {name!r}; did you mean {' or '.join(near)}?")
    if len(names) > _LISTED:
        return UserError(f"There is no {kind} {name!r}; --help lists all {len(names)}.")
    return UserError(f"There is no {kind} {name!r}; there are: {', '.join(names)}.")
