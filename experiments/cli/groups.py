"""The configuration groups: which options exist, each with the one line that describes it."""

from pathlib import Path

from experiments.cli.suggest import unknown
from experiments.cli.variants import canonical_name

CONF = Path(__file__).resolve().parents[1] / "conf"
GROUPS = (
    "experiment",
    "scale",
    "data",
    "trainer",
    "logger",
    "launcher",
    "variant",
    "vre_variant",
    "method",
)


def options(group: str) -> dict[str, str]:
    """Returns ``{name: first comment line}`` of a group; files named ``_*`` are building blocks."""
    files = sorted((CONF / group).glob("[!_]*.yaml"))
    return {file.stem: _first_comment(file) for file in files}


def _first_comment(file: Path) -> str:
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @package"):
            return line.lstrip("# ")
    return ""


def check_option(group: str, name: str) -> str:
    """Returns the option's name as Hydra knows it.

    Raises:
        UserError: The group has no such option; the sentence tells the nearest names.
    """
    known = options(group)
    if group == "variant":
        return canonical_name(name, known)
    if name not in known:
        kind = {"data": "data source", "vre_variant": "variant"}.get(group, group)
        raise unknown(kind, name, known)
    return name
