"""osdface <- {datamodules, lightning_modules, callbacks} <- experiments."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MIDDLE = {"datamodules", "lightning_modules", "callbacks"}
FRAMEWORKS = {"lightning", "pytorch_lightning", "hydra", "wandb"}
FORBIDDEN = {"osdface": FRAMEWORKS | MIDDLE | {"experiments"}}
FORBIDDEN |= {package: {"experiments"} for package in sorted(MIDDLE)}


def imported_packages(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_nothing_above_it(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = {str(f.relative_to(ROOT)): imported_packages(f) & FORBIDDEN[package] for f in files}
    assert {file: names for file, names in found.items() if names} == {}
