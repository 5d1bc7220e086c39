"""The trials of a sweep: values from (seed, number), and the words that run one."""

import itertools
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.sweeping.definition import Definition
from experiments.sweeping.distributions import Parameter
from osdface.errors import UserError

LOG = "logs"


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        number: From 1.
        values: Of every parameter of the file.
        run_id: Of W&B, where its server drew the trial.
    """

    number: int
    values: Mapping[str, Any]
    run_id: str | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"trial-{self.run_id or f'{self.number:04d}'}"


def count_of(definition: Definition, count: int) -> int:
    """Returns how many trials there are.

    Args:
        definition: The sweep's.
        count: What the user asked for, 0 for what the file says.

    Raises:
        UserError: Nobody says how many random trials there are.
    """
    wanted = count or definition.run_cap or 0
    if definition.method == "grid":
        whole = math.prod(len(parameter.listed()) for parameter in definition.parameters)
        return min(whole, wanted) if wanted else whole
    if not wanted:
        raise UserError(f"A {definition.method} sweep has no end of its own: give count=N.")
    return wanted


def trial(definition: Definition, number: int, draw_seed: int) -> Trial:
    """Returns the trial of a number, the same at every call.

    Args:
        definition: Of a grid or random sweep.
        number: From 1; a grid runs through its last parameter first.
        draw_seed: Of random trials.
    """
    if definition.method == "grid":
        lists = [parameter.listed() for parameter in definition.parameters]
        chosen = next(itertools.islice(itertools.product(*lists), number - 1, None))
        names = [parameter.name for parameter in definition.parameters]
        return Trial(number, dict(zip(names, chosen, strict=True)))
    return Trial(number, {p.name: _drawn(p, number, draw_seed) for p in definition.parameters})


def _drawn(parameter: Parameter, number: int, draw_seed: int) -> Any:
    # A stream for each name: another parameter in the file leaves the draws of this one alone.
    stream = zlib.crc32(parameter.name.encode())
    return parameter.draw(np.random.default_rng([draw_seed, number, stream]))


def as_word(value: Any) -> str:
    """Writes a value as ``experiments.run`` reads it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(as_word, value)) + "]"
    return str(value)


def trial_words(
    definition: Definition, chosen: Trial, further: Mapping[str, str], output_dir: Path
) -> dict[str, str]:
    """Returns the words of ``experiments.run`` that run a trial.

    Args:
        definition: The sweep's.
        chosen: The trial.
        further: The user's words for every trial; they win over what the file gives as constant.
        output_dir: The sweep's folder, absolute.
    """
    words = {name: as_word(value) for name, value in chosen.values.items()} | dict(further)
    words.setdefault("logger.group", definition.name)
    tags = words.get("logger.tags", "").strip("[]")
    words["logger.tags"] = f"[{tags},{chosen.name}]" if tags else f"[{chosen.name}]"
    return words | {"output_dir": str(output_dir / chosen.name)}
