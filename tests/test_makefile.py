"""The Makefile's own logic, with a stand-in for Python: nothing is installed here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Answers the checks as told by two variables, makes a venv that holds a copy of itself, and writes
# down what it was called with.
STAND_IN = """\
#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
    *version_info*) exit "${OLD:-0}" ;;
    *ensurepip*) exit "${NO_ENSUREPIP:-0}" ;;
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    *"pip install"*-e*) exit "${INTERRUPTED:-0}" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    folder = tmp_path / "a checkout, with spaces"
    folder.mkdir()
    for name in ["Makefile", "setup.cfg", "pyproject.toml", "constraints.txt"]:
        shutil.copy(ROOT / name, folder)
    stand_in = tmp_path / "python-stand-in"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    return folder


def make(checkout: Path, *arguments: str, **variables: str) -> tuple[int, str, list[str]]:
    """Returns make's exit status, its standard error and the calls of the stand-in."""
    calls = checkout.parent / "calls"
    calls.write_text("")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "ARGS"))}
    done = subprocess.run(
        ["make", "-C", str(checkout), "PYTHON=../python-stand-in", *arguments],
        env=kept | {"CALLS": str(calls)} | variables,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stderr, calls.read_text().splitlines()


def installs(calls: list[str]) -> list[str]:
    return [call for call in calls if "pip install" in call]


def test_first_call_installs_and_the_next_ones_do_not(checkout):
    status, _, calls = make(checkout, "ablation_losses", "ARGS=seed=1 'output_dir=a b'")
    assert status == 0
    assert "-e .[dev] -c constraints.txt" in installs(calls)[0]
    assert "opencv-python-headless" in installs(calls)[-1]
    assert calls[-1] == "-m experiments.run experiment=ablation_losses seed=1 output_dir=a b"

    (checkout / "setup.cfg").touch()
    status, _, calls = make(checkout, "test")
    assert status == 0
    assert installs(calls) == []
    assert [call.split()[1] for call in calls] == ["ruff", "ruff", "mypy", "pytest"]

    with open(checkout / "constraints.txt", "a") as file:
        file.write("# changed\n")
    assert installs(make(checkout, "install")[2])


def test_the_demo_is_served_with_the_given_words(checkout):
    status, _, calls = make(checkout, "demo", "ARGS=port=0 checkpoint=tiny")
    assert status == 0
    assert calls[-1] == "-m experiments.demo port=0 checkpoint=tiny"


def test_interrupted_install_is_repeated(checkout):
    status, _, calls = make(checkout, "install", INTERRUPTED="1")
    assert status != 0
    assert len(installs(calls)) == 1
    status, _, calls = make(checkout, "install")
    assert status == 0
    assert installs(calls)
    assert not any("-m venv" in call for call in calls)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OLD": "1"}, ["Python >= 3.11", "apt-get install python3 python3-venv"]),
        ({"NO_ENSUREPIP": "1"}, ["ensurepip", "apt-get install python3-venv"]),
    ],
)
def test_what_is_missing_is_named_in_one_sentence(checkout, variables, words):
    status, errors, calls = make(checkout, "test", **variables)
    sentence, *rest = errors.splitlines()
    assert status != 0
    assert all(word in sentence for word in words)
    assert all(line.startswith("make") for line in rest)
    assert not (checkout / ".venv").exists()
    assert installs(calls) == []


def test_help_lists_every_target():
    text = subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True).stdout
    for target in ["ablation_losses", "test", "test-slow", "test-all", "constraints", "clean"]:
        assert f"\n  {target} " in text
