"""Fakes for the tasks: the command line is tested without any training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

from experiments.cli import tasks


class Fakes:
    """Stands in for the pipelines and keeps what they were called with."""

    def __init__(self) -> None:
        self.prepared: list[Path] = []
        self.jobs: list[tuple[str, int]] = []
        self.configs: list[Any] = []
        self.reports: list[Path] = []
        self.failing: dict[str, BaseException] = {}

    def prepare(self, cfg: Any, output_dir: Path) -> None:
        self.prepared.append(output_dir)

    def run_variant(self, cfg: Any, folder: Path) -> dict[str, float]:
        self.jobs.append((cfg.variant, cfg.seed))
        self.configs.append(cfg)
        if cfg.variant in self.failing:
            raise self.failing[cfg.variant]
        return {"psnr": 20.0}

    def run(self, cfg: Any, output_dir: Path) -> dict[str, float]:
        self.configs.append(cfg)
        if cfg.experiment in self.failing:
            raise self.failing[cfg.experiment]
        return {"psnr": 21.0}

    def report(self, output_dir: Path) -> Path:
        self.reports.append(output_dir)
        (output_dir / "ablation.csv").write_text("variant\n", encoding="utf-8")
        return output_dir / "ablation.csv"

    def load(self, task: str) -> Callable[..., Any]:
        parts = {"prepare": self.prepare, "variant": self.run_variant, "report": self.report}
        parts["method"] = self.run_variant
        return parts.get(task.removeprefix("ablation."), self.run)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fakes:
    """Fake tasks, in an empty working folder, in the first process of a run."""
    fake = Fakes()
    # Hydra composes every job twice, once to see whether it can: half the time of these tests.
    monkeypatch.setattr(BasicSweeper, "validate_batch_is_legal", lambda *_: None)
    monkeypatch.setattr(tasks, "load", fake.load)
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    return fake
