"""The methods' files: ``conf/baseline``, one a method, and whoever adds one."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from experiments.baselines.methods import WORD, Method
from experiments.cli.suggest import unknown
from osdface.errors import UserError

FOLDER = Path(__file__).resolve().parents[1] / "conf" / "baseline"
OURS = "osdface_ours"
_TEXTS = ("name", "repository", "licence", "command", "outputs")


def read_method(file: Path) -> Method:
    """Reads a method's file.

    Raises:
        UserError: It is no such file, or its command has a word that is not known.
    """
    try:
        found: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is no YAML file: {str(error).splitlines()[0]}.") from error
    names = set(Method.__dataclass_fields__) - {"key"}
    if not isinstance(found, dict) or (missing := [n for n in _TEXTS if not found.get(n)]):
        lacks = ", ".join(missing) if isinstance(found, dict) else "everything"
        raise UserError(f"{file} lacks {lacks}: see experiments/conf/baseline/codeformer.yaml.")
    if extra := sorted(set(found) - names):
        raise unknown(f"key in {file}", extra[0], names)
    found["paths"] = found.get("paths") or {}
    method = Method(key=file.stem, **found)
    words = {"python", "input", "output", *method.paths}
    for word in WORD.findall(method.command):
        if word not in words:
            raise unknown(f"word of the command in {file}", word, words)
    for word in ("input", "output"):
        if f"{{{word}}}" not in method.command:
            raise UserError(f"The command in {file} does not name {{{word}}}.")
    return method


@cache
def shipped_methods() -> dict[str, Method]:
    """Returns the paper's ten methods and ours, by key, in the order of the paper's tables."""
    found = {file.stem: read_method(file) for file in FOLDER.glob("*.yaml")}
    order = [
        *("restoreformer_pp", "vqfr", "codeformer", "daefr", "pgdiff", "difface", "diffbir"),
        *("osediff", "osediff_face", "osdface", OURS),
    ]
    return {key: found[key] for key in order} | {k: found[k] for k in sorted(found.keys() - order)}


def known_methods(folder: str | None) -> dict[str, Method]:
    """Returns the shipped methods and those of a folder of the user's."""
    found = dict(shipped_methods())
    if folder:
        files = sorted(Path(folder).expanduser().glob("*.yaml"))
        if not files:
            raise UserError(f"baselines={folder} holds no .yaml file.")
        found |= {file.stem: read_method(file) for file in files}
    return found


def words_of(methods: Iterable[Method]) -> dict[str, str]:
    """Returns the words that a command may change, ``baseline.KEY.FIELD`` -> what it is."""
    found = {}
    for method in methods:
        for name in ("checkout", "python", "command", "outputs", "suffix"):
            found[f"baseline.{method.key}.{name}"] = name
        for name in method.paths:
            found[f"baseline.{method.key}.paths.{name}"] = "path"
    return found
