"""What the runs differ in: groups of equal configuration over seeds, and a label for each."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.comparing.collecting import Found
from experiments.reporting.records import Row
from experiments.sweeping.trials import as_word

# Says how a run was organised and where it lay, not what was trained.
_ORGANISED = (
    "cache_dir",
    "experiment",
    "launcher",
    "logger",
    "output_dir",
    "part",
    "progress",
    "resume",
    "seeds",
    "slurm",
    "task",
    "variants",
    "weights_dir",
)
# What a variant sets: its name says it.
_OF_VARIANT = ("vre.kind", "vre.dictionary", "vre.association")
_IN_LABEL = 4
_LABEL_LENGTH = 60
ABSENT = "(absent)"


@dataclass
class Group:
    """Runs that differ in their seed alone."""

    label: str
    runs: list[Found]
    values: Mapping[str, Any]

    @property
    def row(self) -> Row:
        """The group as a row of the tables."""
        return Row(self.label, [found.run for found in self.runs])


def compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the part of a flat configuration that makes two runs different trainings."""
    return {
        key: value
        for key, value in config.items()
        if key != "seed" and key.partition(".")[0] not in _ORGANISED
    }


def differing(runs: Sequence[Found]) -> list[str]:
    """Returns the keys in which the runs differ, apart from the seed and how they were organised.

    Of keys that hold the same values in every run, such as a number and what refers to it, the
    first one stands for all.
    """
    configs = [compared(run.config) for run in runs]
    keys = list(dict.fromkeys(key for config in configs for key in config))
    found: dict[str, str] = {}
    for key in sorted(keys, key=_order):
        column = repr([config.get(key, ABSENT) for config in configs])
        if len({repr(config.get(key, ABSENT)) for config in configs}) > 1:
            found.setdefault(column, key)
    return list(found.values())


def _order(key: str) -> tuple[int, str]:
    first = key.partition(".")[0]
    places = ("variant", "losses", "vre", "scale", "data")
    return (places.index(first) if first in places else len(places), key)


def _named_by(keys: Sequence[str]) -> list[str]:
    """The keys that a label needs: what a variant switches is said by its name."""
    if "variant" not in keys:
        return list(keys)
    switches = [key for key in keys if key.startswith("losses.") and "weights" not in key]
    return [key for key in keys if key not in switches and key not in _OF_VARIANT]


def groups(runs: Sequence[Found]) -> tuple[list[Group], list[str]]:
    """Returns the groups in the order of their first run, and the keys in which they differ."""
    keys = differing(runs)
    found: dict[str, Group] = {}
    for run in runs:
        config = compared(run.config)
        values = {key: config.get(key, ABSENT) for key in keys}
        found.setdefault(repr(values), Group("", [], values)).runs.append(run)
    everything = list(found.values())
    for each in everything:
        each.runs.sort(key=lambda run: (str(type(run.seed)), run.seed))
    labels = _labels(everything, _named_by(keys))
    for each, label in zip(everything, labels, strict=True):
        each.label = label
    return everything, keys


def _labels(found: Sequence[Group], keys: Sequence[str]) -> list[str]:
    if not keys:
        return [_folder_names(found)[0]] if found else []
    if len(keys) <= _IN_LABEL:
        shorts = _short_names(keys)
        labels = [
            ", ".join(_part(key, shorts[key], group.values[key]) for key in keys) for group in found
        ]
        if len(set(labels)) == len(labels) and max(map(len, labels)) <= _LABEL_LENGTH:
            return labels
    return _folder_names(found)


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, or the whole of it where two end alike."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)}


def _part(key: str, short: str, value: Any) -> str:
    if key == "variant":
        return str(value)
    text = os.path.basename(value) if isinstance(value, str) and "/" in value else as_word(value)
    return f"{short}={text}"


def _folder_names(found: Sequence[Group]) -> list[str]:
    """The folder of each group's first run, as far as it differs from the others'."""
    folders = [str(group.runs[0].folder) for group in found]
    if len(folders) == 1:
        return [os.path.basename(folders[0])]
    common = os.path.commonpath(folders)
    return [os.path.relpath(folder, common) for folder in folders]
