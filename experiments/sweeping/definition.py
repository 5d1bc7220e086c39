"""A sweep file of W&B: found, read, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.cli.suggest import unknown
from experiments.sweeping.distributions import Parameter, read_parameter
from experiments.sweeping.options import METHODS
from osdface.errors import UserError

SWEEPS = Path(__file__).resolve().parents[1] / "sweeps"
GOALS = ("minimize", "maximize")
# What W&B's schema knows; the rest of a file would be a slip of the pen.
_KEYS = (
    "apiVersion",
    "command",
    "controller",
    "description",
    "early_terminate",
    "entity",
    "kind",
    "method",
    "metric",
    "name",
    "parameters",
    "program",
    "project",
    "run_cap",
)


@dataclass(frozen=True)
class Definition:
    """What a sweep file says.

    Attributes:
        name: Of the sweep and of its group of runs.
        method: ``grid``, ``random`` or ``bayes``.
        metric: What the best trial is chosen by, as the runs log it (``val/perceptual``); None
            where the file names none.
        goal: ``minimize`` or ``maximize``.
        parameters: In the file's order.
        run_cap: The file's limit on trials, None for none.
        raw: The file as plain values.
    """

    name: str
    method: str
    metric: str | None
    goal: str
    parameters: tuple[Parameter, ...]
    run_cap: int | None
    raw: Mapping[str, Any]

    @property
    def varied(self) -> tuple[Parameter, ...]:
        """The parameters that differ between trials."""
        return tuple(parameter for parameter in self.parameters if parameter.varies)

    @property
    def settings(self) -> tuple[Parameter, ...]:
        """The varied parameters but the seed: what is chosen between."""
        return tuple(parameter for parameter in self.varied if parameter.name != "seed")


def names() -> list[str]:
    """Returns the sweeps that are shipped."""
    return sorted(path.stem for path in SWEEPS.glob("*.yaml"))


def find_file(sweep: str) -> Path:
    """Returns the file of a shipped sweep's name, or of a path.

    Raises:
        UserError: There is none.
    """
    if (shipped := SWEEPS / f"{sweep}.yaml").is_file() and "/" not in sweep:
        return shipped
    path = Path(sweep)
    if path.is_file():
        return path
    if "/" in sweep or path.suffix in (".yaml", ".yml"):
        raise UserError(f"sweep={sweep}: there is no such file.")
    raise unknown("sweep", sweep, names())


def read_definition(path: Path) -> Definition:
    """Reads a sweep file.

    Raises:
        UserError: It is no YAML, or no sweep that ``experiments.run`` could run.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no YAML: {reason[:200]}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    return parse_definition(raw, path.stem, str(path))


def parse_definition(raw: Any, stem: str, where: str) -> Definition:
    """Returns the definition that plain values hold.

    Args:
        raw: Of the file.
        stem: The sweep's name where the file gives none.
        where: The file, for sentences.
    """
    if not isinstance(raw, dict) or not isinstance(raw.get("parameters"), dict):
        raise UserError(f"{where} is no sweep: it needs method: and parameters:.")
    for key in raw:
        if key not in _KEYS:
            raise UserError(f"{where}: {unknown('key', str(key), _KEYS)}")
    method = raw.get("method")
    if method not in METHODS:
        raise UserError(f"{where}: method: must be {', '.join(METHODS)}, not {method!r}.")
    command = raw.get("command")
    if command is not None and "experiments.run" not in str(command):
        raise UserError(f"{where}: its command: does not run experiments.run, which is all we run.")
    metric, goal = _metric(raw.get("metric"), where)
    cap = raw.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or cap < 1):
        raise UserError(f"{where}: run_cap: must be a whole number above 0.")
    parameters = tuple(
        read_parameter(str(name), given, where)
        for name, given in raw["parameters"].items()
        if name != "resume"  # each trial has a folder of its own and goes on there
    )
    if not any(parameter.varies for parameter in parameters):
        raise UserError(f"{where}: no parameter varies; that is one run, no sweep.")
    name = str(raw.get("name") or stem)
    return Definition(name, method, metric, goal, parameters, cap, raw)


def _metric(given: Any, where: str) -> tuple[str | None, str]:
    if given is None:
        return None, GOALS[0]
    name = given.get("name") if isinstance(given, dict) else None
    goal = given.get("goal", GOALS[0]) if isinstance(given, dict) else None
    if not isinstance(name, str) or goal not in GOALS:
        raise UserError(f"{where}: metric: needs name: and goal: (minimize or maximize).")
    return name, str(goal)
