"""What a figure rests on: printed beside it, so that two tables can be told apart."""

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

STAND_IN = "(stand-in)"


@dataclass(frozen=True)
class Specification:
    """How a figure is computed.

    Attributes:
        what: The figure in words.
        network: Which network it depends on; empty for none.
        weights: SHA-256 of the network's file.
        statistics: What else was measured beforehand and is compared with.
        colour: Colour space and range of what is compared.
        resize: How images are resized, "none" if they are not.
        library: What computes it, with its version.
        stand_in: The network stands in for the published one.
        comparable: The figure may be held against published ones.
    """

    what: str
    network: str = ""
    weights: str = ""
    statistics: str = ""
    colour: str = "RGB in [0, 1]"
    resize: str = "none"
    library: str = "osdface"
    stand_in: bool = False
    comparable: bool = True

    def text(self) -> str:
        """Returns everything in one line."""
        parts = [self.what]
        if self.network:
            parts.append(self.network + (f" {STAND_IN}" if self.stand_in else ""))
        parts += [f"weights {self.weights[:12]}"] if self.weights else []
        parts += [self.statistics] if self.statistics else []
        return ", ".join([*parts, self.colour, f"resize {self.resize}", self.library])

    def as_dict(self) -> dict[str, Any]:
        """Returns the attributes by name."""
        return asdict(self)


def library(name: str) -> str:
    """Returns ``name version``, or the name alone where the library is not installed."""
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return name
