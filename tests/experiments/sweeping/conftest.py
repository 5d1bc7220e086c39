"""Sweeps whose trials are real processes of a quick stand-in for ``experiments.run``."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.sweeping import books, driver
from experiments.sweeping.definition import read_definition
from experiments.sweeping.options import read_options

FAKE = [sys.executable, "-S", str(Path(__file__).with_name("fake_run.py"))]


class Sweeps:
    """Makes sweep files and their folders, and says what the trials' processes do."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.monkeypatch = folder, monkeypatch

    def file(self, parameters: dict[str, Any], **changes: Any) -> str:
        """Writes a sweep file and returns its path."""
        raw = {
            "name": "mine",
            "method": "grid",
            "metric": {"name": "val/perceptual", "goal": "minimize"},
            "parameters": {"experiment": {"value": "osdface"}, **parameters},
            **changes,
        }
        path = self.folder / "mine.yaml"
        path.write_text(yaml.safe_dump(raw, sort_keys=False))
        return str(path)

    def ranks(self, *ranks: int, **changes: Any) -> str:
        """Writes a grid of LoRA ranks; the larger the better in every figure."""
        return self.file({"scale.stage2.lora_rank": {"values": list(ranks)}}, **changes)

    def book(self, *words: str) -> books.Book:
        """Begins a sweep without running it."""
        options = read_options(list(words))
        wanted = books.content(read_definition(Path(options["sweep"])), options)
        folder = books.choose(wanted, options)
        books.keep(folder, wanted, options["count"] or 3)
        return books.open_book(folder)

    def does(self, **by_trial: Any) -> None:
        """Says what trials do in place of finishing: fail, mistake, die, hang; the first time."""
        named = {name.replace("trial", "trial-000"): what for name, what in by_trial.items()}
        self.monkeypatch.setenv("FAKE_RUN_DOES", json.dumps(named))


@pytest.fixture
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    """Sweeps of fake runs, in an empty working folder."""
    monkeypatch.setattr(driver, "COMMAND", FAKE)
    monkeypatch.chdir(tmp_path)
    for name in ("FAKE_RUN_DOES", "CUDA_VISIBLE_DEVICES", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    return Sweeps(tmp_path, monkeypatch)
