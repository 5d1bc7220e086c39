"""Output folders made by hand: what an ablation leaves on disk, with known figures and colours."""

import json

import numpy as np
import pytest
from PIL import Image

FIGURES = {
    "psnr": 25.0,
    "perceptual": 0.2,
    "identity": 0.8,
    "ssim": 0.75,
    "identity_angle": 36.0,
    "l1": 0.05,
}
COLOURS = {"lq": (90, 90, 90), "hq": (10, 200, 10), "mse": (200, 10, 10), "full": (10, 10, 200)}


class OutputFolder:
    colours = COLOURS

    def __init__(self, path):
        self.path = path

    def write(self, name, value):
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(value if isinstance(value, str) else json.dumps(value))

    def references(self, keys=("a", "b"), size=32):
        rows = {"untrained": FIGURES | {"psnr": 20.0}, "degraded": FIGURES | {"psnr": 21.0}}
        self.write("references/metrics.json", rows)
        for name in ("lq", "hq"):
            self.pictures(f"references/samples/{name}", COLOURS[name], keys, size)

    def pictures(self, folder, colour, keys=("a", "b"), size=32):
        (self.path / folder).mkdir(parents=True, exist_ok=True)
        for key in keys:
            pixels = np.full((size, size, 3), colour, np.uint8)
            Image.fromarray(pixels).save(self.path / folder / f"{key}.png")

    def run(self, name, status="finished", reason=None, colour=None, **figures):
        value = {"status": status, "reason": reason, "step": 300, "seconds": 60.0}
        self.write(f"{name}/status.json", value | {"wandb_run": None})
        self.write(f"{name}/metrics.csv", "step,seconds,loss/total\n1,0.1,0.5\n2,0.2,0.25\n")
        if status == "finished":
            self.write(f"{name}/metrics.json", FIGURES | figures)
            if colour:
                self.pictures(f"{name}/samples", colour)


@pytest.fixture
def output(tmp_path):
    """An empty output folder with ways to fill it."""
    return OutputFolder(tmp_path)
