"""How the run was made: command, configuration, what differs between variants, machine."""

from typing import Any

import yaml

from experiments.cli.folders import flat
from experiments.reporting.page.found import Found
from experiments.reporting.page.markup import code, element, escape, folded, section
from experiments.reporting.page.tables import Cell, table
from experiments.reporting.variants import read_configuration
from osdface.run_folder import sync_command

_EXPECTED = ("output_dir", "variants", "part", "resume")  # differ, and tell nothing


def differences(configs: dict[str, dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Returns key -> name -> value as text, of the keys in which configurations differ."""
    leaves = {name: dict(flat(config)) for name, config in configs.items()}
    keys = dict.fromkeys(key for each in leaves.values() for key in each)
    found = {}
    for key in keys:
        if key in _EXPECTED:
            continue
        values = {name: str(each.get(key, "–")) for name, each in leaves.items()}
        if len(set(values.values())) > 1:
            found[key] = values
    return found


def _differences_table(found: Found) -> str:
    configs = {part.label: read_configuration(part.folder) for part in found.parts}
    configs = {name: config for name, config in configs.items() if config}
    different = differences(configs)
    if not found.is_ablation or len(configs) < 2 or not different:
        return ""
    lines = [
        [Cell(element("code", escape(key)), key)]
        + [Cell(escape(values[name]), values[name]) for name in configs]
        for key, values in different.items()
    ]
    header = ["key", *map(escape, configs)]
    return element("h3", "What differs between the variants") + table(header, lines, "Differences")


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, allow_unicode=True, sort_keys=False, width=100))


def settings_section(found: Found) -> str:
    """Returns the section on how the run was made."""
    parts = []
    if found.command:
        parts += [element("h3", "Command"), code(found.command, one_line=True)]
    if command := sync_command(found.folder, nested=True):
        parts += [element("h3", "Upload to Weights &amp; Biases"), code(command, one_line=True)]
    parts.append(_differences_table(found))
    if found.config:
        sections = [
            folded(str(key), code(_yaml({key: value})))
            for key, value in found.config.items()
            if isinstance(value, dict) and value
        ]
        rest = {k: v for k, v in found.config.items() if not isinstance(v, dict) or not v}
        inner = [folded("run", code(_yaml(rest))), *sections]
        parts += [element("h3", "Configuration"), element("div", *inner, class_="folds")]
    if found.environment:
        shown = {k: v for k, v in found.environment.items() if k != "command"}
        items = [
            element("dt", escape(key)) + element("dd", escape(value if value != [] else "none"))
            for key, value in flat(shown)
        ]
        parts.append(folded("Environment", element("dl", *items)))
    return section("How it was made", "settings", *parts) if any(parts) else ""
