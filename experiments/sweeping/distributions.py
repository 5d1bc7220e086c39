"""The parameters of a sweep file: W&B's distributions, listed for a grid or drawn at random."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from experiments.cli.suggest import unknown
from osdface.errors import UserError

# Name -> the settings it needs and those it may have, with their defaults.
_BOUNDS = {"min": None, "max": None}
_NORMAL = {"mu": 0.0, "sigma": 1.0}
_BETA = {"a": 1.0, "b": 1.0}
_Q = {"q": 1.0}
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    "constant": {"value": None},
    "categorical": {"values": None},
    "categorical_w_probabilities": {"values": None, "probabilities": None},
    "int_uniform": _BOUNDS,
    "uniform": _BOUNDS,
    "q_uniform": _BOUNDS | _Q,
    "log_uniform": _BOUNDS,
    "log_uniform_values": _BOUNDS,
    "q_log_uniform": _BOUNDS | _Q,
    "q_log_uniform_values": _BOUNDS | _Q,
    "inv_log_uniform": _BOUNDS,
    "inv_log_uniform_values": _BOUNDS,
    "normal": _NORMAL,
    "q_normal": _NORMAL | _Q,
    "log_normal": _NORMAL,
    "q_log_normal": _NORMAL | _Q,
    "beta": _BETA,
    "q_beta": _BETA | _Q,
}
_DIGITS = 6  # of a drawn value: enough to repeat it by hand


@dataclass(frozen=True)
class Parameter:
    """One parameter of a sweep.

    Attributes:
        name: A key of ``experiments.run``.
        distribution: One of :data:`DISTRIBUTIONS`.
        settings: All of the distribution's, defaults filled in.
    """

    name: str
    distribution: str
    settings: Mapping[str, Any]

    @property
    def varies(self) -> bool:
        return self.distribution != "constant"

    @property
    def logarithmic(self) -> bool:
        """Whether its values are best seen on a logarithmic axis."""
        return "log" in self.distribution

    def listed(self) -> list[Any]:
        """Returns every value, for a grid.

        Raises:
            UserError: There are infinitely many.
        """
        chosen = self.settings
        if self.distribution == "constant":
            return [chosen["value"]]
        if self.distribution == "categorical":
            return list(chosen["values"])
        if self.distribution == "int_uniform":
            return list(range(chosen["min"], chosen["max"] + 1))
        if self.distribution == "q_uniform":
            # W&B's grid leaves max out too.
            steps = np.arange(chosen["min"], chosen["max"], chosen["q"])
            return [_rounded(value, chosen["q"]) for value in steps.tolist()]
        raise UserError(
            f"A grid needs a list of values, but {self.name} is {self.distribution}: give it "
            "values: in the file, or take method=random count=N."
        )

    def draw(self, rng: np.random.Generator) -> Any:
        """Returns a random value, of six significant digits where it is a fraction."""
        chosen = self.settings
        if self.distribution in _LISTS:
            share = chosen.get("probabilities")
            values = chosen["values"] if "values" in chosen else [chosen["value"]]
            return values[int(rng.choice(len(values), p=_shares(share)))]
        if self.distribution == "int_uniform":
            return int(rng.integers(chosen["min"], chosen["max"], endpoint=True))
        if self.distribution.endswith("beta"):
            value = float(rng.beta(chosen["a"], chosen["b"]))
        else:
            value = self.at(float(rng.random()))
        return _rounded(value, chosen.get("q"))

    def at(self, share: float) -> float:
        """Returns the value below which ``share`` of a continuous distribution lies, unrounded.

        Args:
            share: In (0, 1).
        """
        return _INVERSE[self.distribution.removeprefix("q_")](share, self.settings)


_LISTS = ("constant", "categorical", "categorical_w_probabilities")


def _shares(probabilities: Any) -> Any:
    """Probabilities as NumPy wants them: a sum of exactly one."""
    return None if probabilities is None else np.asarray(probabilities) / sum(probabilities)


def _rounded(value: float, q: float | None = None) -> Any:
    if q is not None:
        value = round(value / q) * q
        if isinstance(q, int):
            return int(value)
    return float(f"{value:.{_DIGITS}g}")


def _between(share: float, low: float, high: float) -> float:
    return low + share * (high - low)


def _normal(share: float, chosen: Mapping[str, Any]) -> float:
    if chosen["sigma"] == 0:
        return float(chosen["mu"])
    # random() may be 0, where a normal distribution has no value.
    share = min(max(share, 1e-12), 1 - 1e-12)
    return NormalDist(chosen["mu"], chosen["sigma"]).inv_cdf(share)


def _log(share: float, chosen: Mapping[str, Any]) -> float:
    return math.exp(_between(share, math.log(chosen["min"]), math.log(chosen["max"])))


_INVERSE: dict[str, Callable[[float, Mapping[str, Any]], float]] = {
    "uniform": lambda u, p: _between(u, p["min"], p["max"]),
    # min and max are natural logarithms here, as in W&B.
    "log_uniform": lambda u, p: math.exp(_between(u, p["min"], p["max"])),
    "log_uniform_values": _log,
    "inv_log_uniform": lambda u, p: math.exp(-_between(1 - u, p["min"], p["max"])),
    # W&B's: between 1 / max and 1 / min of 1 / x, which is x between min and max.
    "inv_log_uniform_values": _log,
    "normal": _normal,
    "log_normal": lambda u, p: math.exp(_normal(u, p)),
}


def read_parameter(name: str, given: Any, where: str) -> Parameter:
    """Returns a parameter of a sweep file.

    Args:
        name: Its name.
        given: What the file says of it.
        where: The file, for sentences.

    Raises:
        UserError: It is none of W&B's distributions, or a setting is missing or makes no sense.
    """
    here = f"{where}: parameter {name}"
    if not isinstance(given, dict):
        raise UserError(f"{here} needs value:, values:, or min: and max: below it.")
    if "parameters" in given:
        raise UserError(f"{here} is nested: write the keys with dots, {name}.KEY:, instead.")
    distribution = str(given.get("distribution") or _guessed(given))
    if distribution not in DISTRIBUTIONS:
        raise UserError(f"{here}: {unknown('distribution', distribution, DISTRIBUTIONS)}")
    defaults = DISTRIBUTIONS[distribution]
    if distribution == "categorical" and "probabilities" in given:
        distribution = "categorical_w_probabilities"
        defaults = DISTRIBUTIONS[distribution]
    for key in given:
        if key != "distribution" and key not in defaults:
            raise UserError(f"{here}: {key}: is no setting of {distribution} ({_list(defaults)}).")
    settings = {**defaults, **{key: value for key, value in given.items() if key in defaults}}
    for key in defaults:
        if defaults[key] is None and key not in given:
            raise UserError(f"{here}: {distribution} needs {key}:.")
    _check(here, distribution, settings)
    return Parameter(name, distribution, settings)


def _list(names: Any) -> str:
    return ", ".join(names)


def _guessed(given: Mapping[str, Any]) -> str:
    """The distribution of a parameter that names none, as W&B takes it."""
    if "value" in given:
        return "constant"
    if "values" in given:
        return "categorical"
    whole = all(isinstance(given.get(key), int) for key in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def _check(here: str, distribution: str, settings: Mapping[str, Any]) -> None:
    if "values" in settings:
        _check_list(here, settings)
        return
    for key, value in settings.items():
        if key == "value":
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            # In YAML 1e-3 is a text.
            raise UserError(f"{here}: {key}: {value!r} is no number; write 0.001, not 1e-3.")
        if (key in ("q", "a", "b") and value <= 0) or (key == "sigma" and value < 0):
            raise UserError(f"{here}: {key}: must be above 0.")
    if "min" in settings:
        if settings["min"] > settings["max"]:
            raise UserError(f"{here}: min: is above max:.")
        if distribution.endswith("_values") and settings["min"] <= 0:
            raise UserError(f"{here}: min: of {distribution} must be above 0.")
        if distribution == "int_uniform" and not all(
            isinstance(settings[key], int) for key in ("min", "max")
        ):
            raise UserError(f"{here}: int_uniform needs whole numbers.")


def _check_list(here: str, settings: Mapping[str, Any]) -> None:
    values, shares = settings["values"], settings.get("probabilities")
    if not isinstance(values, list) or not values:
        raise UserError(f"{here}: values: must be a list, such as [1, 2].")
    if shares is None:
        return
    numbers = isinstance(shares, list) and all(isinstance(each, int | float) for each in shares)
    if not numbers or len(shares) != len(values) or min(shares) < 0:
        raise UserError(f"{here}: probabilities: must be one number above 0 for each value.")
    if not math.isclose(sum(shares), 1, abs_tol=1e-3):
        raise UserError(f"{here}: probabilities: sum to {sum(shares):g}, not to 1.")
