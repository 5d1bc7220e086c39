"""What makes figures of different runs not comparable: said, never hidden."""

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any

from experiments.comparing.collecting import Found
from experiments.comparing.differences import Group, compared
from experiments.reporting.grids import keys_below
from osdface.metrics.specification import STAND_IN

# Of the data, what the held-out pictures do not depend on.
_NOT_HELD_OUT = ("data.degradation", "data.workers", "data.num_workers", "data.target")
_CLOSE = 1e-4  # relative; the same pictures on another machine differ by rounding


def warnings(found: Sequence[Group]) -> list[str]:
    """Returns a sentence on everything that makes the groups not comparable."""
    checks: tuple[Callable[[Sequence[Group]], list[str]], ...] = (
        _measured,
        _held_out,
        _degraded,
        _steps,
        _code,
        _stand_ins,
    )
    return [sentence for check in checks for sentence in check(found)]


def _runs(found: Sequence[Group]) -> list[tuple[str, Found]]:
    return [(group.label, run) for group in found for run in group.runs]


def _by(found: Sequence[Group], what: Callable[[Found], Any]) -> dict[Any, list[str]]:
    """The labels of the groups that have each value; None is left out."""
    values: dict[Any, list[str]] = {}
    for label, run in _runs(found):
        value = what(run)
        if value is not None and label not in values.setdefault(value, []):
            values[value].append(label)
    return values


def _told(values: dict[Any, list[str]]) -> str:
    return "; ".join(f"{value}: {_some(labels)}" for value, labels in values.items())


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:4])
    return f"{shown} and {len(labels) - 4} more" if len(labels) > 4 else shown


def _measured(found: Sequence[Group]) -> list[str]:
    sentences = []
    for metric in sorted({name for _, run in _runs(found) for name in run.specification}):
        values = _by(found, lambda run, metric=metric: run.specification.get(metric))
        if len(values) > 1:
            sentences.append(
                f"`{metric}` is not measured alike, so do not compare its column ({_told(values)})."
            )
    if missing := sorted({label for label, run in _runs(found) if not run.specification}):
        sentences.append(
            f"What measured the figures is not on disk (references/specification.json): "
            f"{_some(missing)}."
        )
    return sentences


def picture_sums(run: Found, domain: str) -> dict[str, str]:
    """Returns the checksums of a run's held-out pictures (``hq`` or ``lq``) by key."""
    if run.references is None:
        return {}
    folder = run.references / "references" / "samples" / domain
    return {
        key: hashlib.sha256((folder / f"{key}.png").read_bytes()).hexdigest()
        for key in sorted(keys_below(folder))
    }


def _held_out(found: Sequence[Group]) -> list[str]:
    sums = _by(found, lambda run: tuple(picture_sums(run, "hq").items()) or None)
    if len(sums) > 1:
        sides = " | ".join(_some(labels) for labels in sums.values())
        return [f"The held-out pictures differ ({sides}): the figures are of other faces."]
    keys = _differing(
        found,
        lambda key: (
            key == "scale.resolution"
            or (key.startswith("data.") and not key.startswith(_NOT_HELD_OUT))
        ),
    )
    if not keys:
        return []
    return [f"The data differ in {_some(keys)}; the held-out pictures may differ with them."]


def _differing(found: Sequence[Group], wanted: Callable[[str], bool]) -> list[str]:
    """The keys of that kind in which the runs' configurations differ."""
    keys = {key for _, run in _runs(found) for key in compared(run.config)}
    values = {
        key: {repr(run.config.get(key)) for _, run in _runs(found)} for key in keys if wanted(key)
    }
    return sorted(key for key, seen in values.items() if len(seen) > 1)


def _degraded(found: Sequence[Group]) -> list[str]:
    if same_references(found):
        keys = _differing(found, lambda key: key.startswith("data.degradation"))
        if not keys or any(run.rows for _, run in _runs(found)):
            return []
        return [f"The degradation differs in {_some(keys)}: the inputs are not the same."]
    rows = _by(found, lambda run: _row_text(run.rows.get("degraded", {}).get("psnr")))
    scores = f" ({_told(rows)})" if len(rows) > 1 else ""
    return [
        f"The references differ, such as the degraded input's PSNR{scores}: compare what each run "
        "gains over its own input, in the table of gains."
    ]


def _row_text(value: float | None) -> str | None:
    return None if value is None else f"{value:.2f} dB"


def same_references(found: Sequence[Group]) -> bool:
    """Returns whether all runs that have reference rows have the same ones."""
    tables = [run.rows for _, run in _runs(found) if run.rows]
    return all(_same(tables[0], table) for table in tables[1:])


def _same(first: Any, second: Any) -> bool:
    # Only what measures inputs: the untrained generator differs with the seed and the model.
    for name in ("degraded", "hq_roundtrip"):
        one, other = first.get(name, {}), second.get(name, {})
        for metric in one.keys() | other.keys():
            values = one.get(metric, math.nan), other.get(metric, math.nan)
            if not math.isclose(*values, rel_tol=_CLOSE, abs_tol=_CLOSE):
                return False
    return True


def _steps(found: Sequence[Group]) -> list[str]:
    steps = _by(found, lambda run: run.run.step if run.run.finished else None)
    if len(steps) < 2:
        return []
    return [f"The runs have trained for different numbers of steps ({_told(steps)})."]


def _code(found: Sequence[Group]) -> list[str]:
    commits = _by(found, lambda run: run.commit)
    if len(commits) < 2:
        return []
    short = {f"{str(commit)[:12]}": labels for commit, labels in commits.items()}
    return [f"They were run with different code ({_told(short)})."]


def _stand_ins(found: Sequence[Group]) -> list[str]:
    names = sorted(
        {
            metric
            for _, run in _runs(found)
            for metric, text in run.specification.items()
            if STAND_IN in text
        }
    )
    if not names:
        return []
    return [
        f"Stand-in networks measured {', '.join(names)}: these figures compare such runs with each "
        "other and nothing else."
    ]
