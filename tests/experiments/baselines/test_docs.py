"""The worked example of docs/adding-a-baseline.md, run as it stands on the page."""

import csv
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from experiments.benchmark import main

PAGE = Path(__file__).resolve().parents[3] / "docs/adding-a-baseline.md"


def block(language: str) -> str:
    return re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)[1]


def test_the_worked_example(tmp_path) -> None:
    places = {"CHECKOUT": tmp_path / "checkout", "PYTHON": sys.executable}
    places |= {name: tmp_path / name.lower() for name in ("METHODS", "LQ", "HQ", "DIR")}
    for name in ("METHODS", "CHECKOUT", "LQ"):
        places[name].mkdir()
    text = block("yaml")
    for name in ("CHECKOUT", "PYTHON"):
        text = re.sub(rf": {name}\b", f": {places[name]}", text)
    (places["METHODS"] / "sharpened.yaml").write_text(text)
    (places["CHECKOUT"] / "sharpen.py").write_text(block("py"))
    (places["CHECKOUT"] / "radius.txt").write_text("1.5")
    random = np.random.default_rng(0)
    for name in ("ada", "bob"):
        levels = random.integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(levels).save(places["LQ"] / f"{name}.png")
    shutil.copytree(places["LQ"], places["HQ"])
    lines = [line for line in PAGE.read_text("utf-8").splitlines() if "baselines=METHODS" in line]
    (line,) = lines
    for name in ("METHODS", "LQ", "HQ", "DIR"):
        line = re.sub(rf"={name}\b", f"={places[name]}", line)
    assert main([*shlex.split(line)[3:], "device=cpu"]) == 0
    with open(places["DIR"] / "table_1.csv", newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["method"] == "Sharpened")
    assert row["status"] == "2 images" and 5 < float(row["psnr"]) < 40
    written = {path.name for path in (places["DIR"] / "sharpened").iterdir()}
    assert {"log.txt", "restored", "record.json"} <= written
