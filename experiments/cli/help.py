"""``--help``: made from the comments in the configuration files, without importing Hydra."""

import re
from pathlib import Path

from experiments.cli.groups import CONF, GROUPS, options
from experiments.cli.variants import TERMS

_ENTRY = re.compile(r"(?P<indent> *)(?P<key>\w+):(?P<value>[^#]*?)(?:\s+#\s*(?P<comment>.*))?$")
_HEAD = """\
usage: python -m experiments.run experiment=NAME [key=value ...]

Trains, validates and compares OSDFace: one-step diffusion face restoration.

  python -m experiments.run experiment=ablation_losses
  python -m experiments.run experiment=osdface data=folder data.root='my faces' scale=tiny
  python -m experiments.run experiment=osdface mode=test checkpoint=outputs/.../export

A value is everything after the first "=": paths need no other quotes than the shell's. Lists are
a,b or [a,b]; null is none. --config prints the composed configuration and runs nothing.
Exit status: 0 all finished, 1 a run failed, 2 a mistake in the command, 130 interrupted."""


def _keys(file: Path, prefix: str = "") -> list[tuple[str, str, str]]:
    """(dotted key, default, comment) of each commented key in a YAML file, up to ``hydra:``."""
    found, sections = [], [prefix] if prefix else []
    base = len(sections)
    for line in file.read_text(encoding="utf-8").splitlines():
        match = _ENTRY.match(line)
        if not match or line.startswith("#"):
            continue
        depth = len(match["indent"]) // 2
        if depth == 0 and match["key"] == "hydra":
            break
        sections = [*sections[: base + depth], match["key"]]
        if match["comment"]:
            found.append((".".join(sections), match["value"].strip(), match["comment"]))
    return found


def _rows(rows: list[tuple[str, str, str]]) -> list[str]:
    lines = []
    for key, value, comment in rows:
        if key.endswith(".kind"):
            continue
        shown = "required" if value == "???" else "from scale" if "${scale" in value else value
        lines.append(f"  {key:30} {comment} [{shown}]")
    return lines


def help_text() -> str:
    """Returns the explanation of the command, its groups and its keys."""
    lines = [_HEAD]
    for group in GROUPS:
        lines += ["", f"{group}="]
        lines += [f"  {name:22} {line}" for name, line in options(group).items()]
        if group == "variant":
            more = f"any combination of {', '.join(TERMS)}"
            lines += [f"  {'mse+id+gan':22} {more}"]
    lines += ["", "keys [default]:", *_rows(_keys(CONF / "config.yaml"))]
    # The trainers and loggers have the same keys: those of the default stand for all.
    lines += _rows(_keys(CONF / "trainer/cpu.yaml", "trainer"))
    lines += _rows(_keys(CONF / "logger/wandb.yaml", "logger"))
    lines += _rows(_keys(CONF / "data/_common.yaml", "data"))
    for name in options("data"):
        lines += [f" with data={name}:", *_rows(_keys(CONF / f"data/{name}.yaml", "data"))]
    slurm = [row for row in _keys(CONF / "launcher/slurm.yaml") if row[0].startswith("slurm.")]
    lines += [" with launcher=slurm:", *_rows(slurm)]
    return "\n".join([*lines, "", "  scale.*  every size: see experiments/conf/scale/NAME.yaml"])
