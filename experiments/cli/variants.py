"""Which variants an ablation has: files in a group of ``conf``, and generated combinations.

A loss ablation's are in ``conf/variant``; a generated name lists the terms that are on,
``mse+id+gan``; MSE is always on. Those of the VRE are in ``conf/vre_variant``. The variants of a
comparison of methods are the files of ``conf/method``; one that trains by the clock is called
``<method>_seconds``.
"""

from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any

import yaml

from experiments.cli.suggest import unknown
from osdface.errors import UserError

DEFAULT = ("mse", "full", "no_id", "no_gan", "plain_dists", "ea_lpips", "all")
VRE = (
    "distinct",
    "duplicates",
    "attention_pooling",
    "position_code",
    "hq_dictionary",
    "no_association",
    "learned_prompt",
    "text_prompt",
    "none",
)
METHODS = ("osdface", "osdface_osediff_losses", "osediff", "osediff_face")
LOSS_GROUP, VRE_GROUP, METHOD_GROUP = "variant", "vre_variant", "method"
_GROUPS = {"ablation_vre": VRE_GROUP, "compare_one_step": METHOD_GROUP}
BUDGETS = ("images", "seconds")
_BY_SECONDS = "_seconds"
_SHORT = {"identity": "id"}


def _terms() -> dict[str, str]:
    config = yaml.safe_load((Path(__file__).parents[1] / "conf/config.yaml").read_text("utf-8"))
    keys = [key for key in config["losses"] if key not in ("mse", "weights")]
    return {_SHORT.get(key, key): key for key in keys}


# Short name in a generated variant -> key in `losses` of config.yaml, in its order.
TERMS = _terms()
FACTORIAL_TERMS = ("id", "ea_dists", "gan", "ea_lpips")


def group_of(experiment: str | None) -> str:
    """Returns the configuration group that holds an experiment's variants."""
    return _GROUPS.get(str(experiment), LOSS_GROUP)


def budgeted_name(method: str, budget: str) -> str:
    """Returns the name of a method's run with a budget, which is that of its folder."""
    return method + _BY_SECONDS if budget == "seconds" else method


def method_and_budget(name: str) -> tuple[str, str]:
    """Returns what :func:`budgeted_name` was made of."""
    method = name.removesuffix(_BY_SECONDS)
    return method, BUDGETS[method != name]


def job_name(cfg: Any) -> str:
    """Returns the name of the variant that a job's configuration trains."""
    if group_of(cfg.experiment) == METHOD_GROUP:
        return budgeted_name(str(cfg.method.name), str(cfg.budget))
    return str(cfg.variant)


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


def variant_names(value: Any, files: Iterable[str], group: str = LOSS_GROUP) -> list[str]:
    """Returns the variants that ``variants=value`` means, without repetitions.

    Args:
        value: ``default``, ``factorial`` (losses only), one name, or a list of these.
        files: Names of the files in ``conf/<group>``.
        group: The group that holds the variants.
    """
    lists = {VRE_GROUP: {"default": VRE}, METHOD_GROUP: {"default": METHODS}}.get(
        group, {"default": DEFAULT, "factorial": FACTORIAL}
    )
    known = [*files, *lists]
    names: list[str] = []
    for each in [value] if isinstance(value, str) else list(value or ["default"]):
        if each in lists:
            names.extend(lists[each])
        elif group == LOSS_GROUP:
            names.append(canonical_name(str(each), known))
        elif each in known:
            names.append(each)
        else:
            raise unknown("method" if group == METHOD_GROUP else "variant", str(each), known)
    return list(dict.fromkeys(names))
