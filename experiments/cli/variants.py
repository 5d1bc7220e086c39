"""Names of the ablation's variants: files in ``conf/variant``, and generated combinations.

A generated name lists the terms that are on, ``mse+id+gan``; MSE is always on.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import Any

from experiments.cli.suggest import unknown
from osdface.errors import UserError

DEFAULT = ("mse", "full", "no_id", "no_gan", "plain_dists", "ea_lpips", "all")
# Short name in a generated variant -> key in `losses`; the first four are crossed by `factorial`.
TERMS = {
    "id": "identity",
    "ea_dists": "ea_dists",
    "gan": "gan",
    "ea_lpips": "ea_lpips",
    "dists": "dists",
}
FACTORIAL_TERMS = ("id", "ea_dists", "gan", "ea_lpips")


def _names(terms: Iterable[str]) -> list[str]:
    terms = tuple(terms)
    chosen = (c for size in range(len(terms) + 1) for c in combinations(terms, size))
    return ["+".join(("mse", *each)) for each in chosen]


FACTORIAL = tuple(_names(FACTORIAL_TERMS))


def generated() -> dict[str, dict[str, Any]]:
    """Returns ``{name: configuration}`` of every combination of terms but plain ``mse``."""
    found: dict[str, dict[str, Any]] = {}
    for name in _names(TERMS)[1:]:
        on = name.split("+")[1:]
        losses = {key: float(term in on) for term, key in TERMS.items()}
        found[name] = {"variant": name, "losses": {"mse": 1.0, **losses}}
    return found


def canonical_name(name: str, files: Iterable[str]) -> str:
    """Returns the name with its terms in the usual order (``mse+gan+id`` is ``mse+id+gan``).

    Raises:
        UserError: There is no such variant.
    """
    files = list(files)
    first, *terms = name.split("+")
    if name in files:
        return name
    if first == "mse" and terms and set(terms) <= set(TERMS):
        return "+".join(("mse", *(term for term in TERMS if term in terms)))
    if "+" in name and first != "mse":
        raise UserError(f"There is no variant {name!r}; a combination starts with mse: mse+id+gan.")
    if "+" in name:
        wrong = next(term for term in terms if term not in TERMS)
        raise unknown("loss term", wrong, TERMS)
    raise unknown("variant", name, files)


def variant_names(value: Any, files: Iterable[str]) -> list[str]:
    """Returns the variants that ``variants=value`` means, without repetitions.

    Args:
        value: ``default``, ``factorial``, one name, or a list of these.
        files: Names of the files in ``conf/variant``.
    """
    names: list[str] = []
    for each in [value] if isinstance(value, str) else list(value or ["default"]):
        if each in ("default", "factorial"):
            names.extend(DEFAULT if each == "default" else FACTORIAL)
        else:
            names.append(canonical_name(str(each), [*files, "default", "factorial"]))
    return list(dict.fromkeys(names))
