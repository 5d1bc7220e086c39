"""Run folders made by hand, with known figures, curves and pictures."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.experiments.reporting.conftest import COLOURS, FIGURES, OutputFolder

INPUT = {"psnr": 20.0, "perceptual": 0.4, "identity": 0.5, "ssim": 0.5}
SPECIFICATION = {"psnr": "PSNR", "perceptual": "dists on tiny (stand-in)"}
CONFIG: dict[str, Any] = {
    "experiment": "osdface",
    "task": "osdface",
    "seed": 0,
    "variant": "full",
    "output_dir": None,
    "losses": {"mse": 1.0, "gan": 1.0, "weights": {"gan": 0.1}},
    "scale": {"name": "tiny", "resolution": 64, "stage2": {"steps": 300, "lora_rank": 16}},
    "data": {"kind": "portraits", "degradation": {"preset": "waveface"}},
    "logger": {"kind": "wandb", "group": "mine"},
}


class Runs:
    """Makes runs below ``outputs`` of an empty working folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(
        self,
        name: str,
        changes: dict[str, Any] | None = None,
        status: str = "finished",
        lq: tuple[int, int, int] = COLOURS["lq"],
        hq: tuple[int, int, int] = COLOURS["hq"],
        rows: dict[str, float] | None = None,
        specification: dict[str, str] | None = None,
        **figures: float,
    ) -> Path:
        """Makes one run; ``changes`` are dotted keys of its configuration."""
        folder = OutputFolder(self.root / "outputs" / name)
        config = json.loads(json.dumps(CONFIG)) | {"output_dir": str(folder.path)}
        for key, value in (changes or {}).items():
            section, *rest = key.split(".")
            place = config
            for part in [section, *rest][:-1]:
                place = place.setdefault(part, {})
            place[key.rpartition(".")[2]] = value
        folder.write("config.yaml", yaml.safe_dump(config))
        folder.run(".", status, colour=(200, 10, 10), **figures)
        lines = ["step,seconds,val/psnr,loss/total", "1,0.1,,0.5"]
        psnr = figures.get("psnr", FIGURES["psnr"])
        lines += [f"150,1,{psnr - 1},0.3", f"300,2,{psnr},0.25"]
        folder.write("metrics.csv", "\n".join(lines) + "\n")
        folder.write("references/metrics.json", {"degraded": INPUT | (rows or {})})
        folder.write("references/specification.json", specification or SPECIFICATION)
        folder.pictures("references/samples/lq", lq)
        folder.pictures("references/samples/hq", hq)
        return folder.path


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """An empty working folder and ways to fill it with runs."""
    monkeypatch.chdir(tmp_path)
    return Runs(tmp_path)
