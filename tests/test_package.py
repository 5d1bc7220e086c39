"""The wheel, installed elsewhere, is all that a user needs."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ["osdface", "lightning_modules", "datamodules", "callbacks", "experiments"]
METADATA = ["setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE"]
DATA_PATTERNS = [
    "experiments/**/*.yaml",
    "experiments/**/*.csv",
    "experiments/**/*.css",
    "experiments/**/*.js",
    "experiments/slurm/**/*",
    "osdface/assets/**/*",
    "osdface/weights/*.toml",
]


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Builds from a copy, so that neither stale build folders take part nor new ones are left."""
    source = tmp_path_factory.mktemp("source")
    for package in [*PACKAGES, "tests"]:
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in METADATA:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    backend = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    run("-c", backend, out, cwd=source)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    site = tmp_path_factory.mktemp("elsewhere") / "site packages"
    run(
        *("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"),
        *("--target", site, wheel),
        cwd=wheel.parent,
    )
    return site


def test_wheel_holds_the_packages_and_their_data_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {p for package in PACKAGES for p in (ROOT / package).rglob("*.py")}
    wanted |= {p for pattern in DATA_PATTERNS for p in ROOT.glob(pattern) if p.is_file()}
    wanted = {str(path.relative_to(ROOT)) for path in wanted if "__pycache__" not in path.parts}
    assert wanted - names == set()
    assert {name.split("/")[0] for name in names} == {
        *PACKAGES,
        "-".join(wheel.stem.split("-")[:2]) + ".dist-info",
    }
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert any(name.endswith("licenses/NOTICE") for name in names)


def test_osdface_is_imported_from_the_wheel(installed, tmp_path):
    code = "import osdface; print(osdface.__file__, osdface.__version__)"
    file, version = run("-c", code, cwd=tmp_path, path=installed).rsplit(maxsplit=1)
    assert Path(file).is_relative_to(installed)
    assert (installed / f"osdface-{version}.dist-info").is_dir()


def test_run_prints_its_help_outside_the_checkout(installed, tmp_path):
    text = run("-m", "experiments.run", "--help", cwd=tmp_path, path=installed)
    assert "ablation_losses" in text
    assert list(tmp_path.iterdir()) == []
