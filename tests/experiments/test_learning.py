"""The embedded default visibly learns: the claim of the README, over three seeds."""

import csv
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (0, 1, 2)
REFERENCES = ("degraded", "lq_roundtrip", "hq_roundtrip", "untrained")


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict[str, list[dict[str, str]]]:
    """Rows of ablation.csv by variant, from `full` at the default size with three seeds."""
    folder = tmp_path_factory.mktemp("learning")
    words = ["experiment=ablation_losses", "variants=full", f"seeds={','.join(map(str, SEEDS))}"]
    words += [f"output_dir={folder / 'out'}", f"cache_dir={folder / 'cache'}", "logger=csv"]
    command = [sys.executable, "-m", "experiments.run", *words, "progress=false"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=3600)
    rows: dict[str, list[dict[str, str]]] = {}
    with open(folder / "out" / "ablation.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = row["variant"]
            rows.setdefault(name if name in REFERENCES else "full", []).append(row)
    return rows


def gain(table, metric: str, reference: str) -> tuple[float, float]:
    """Returns the mean gain of `full`, positive if better, and the spread over the seeds."""
    values = [float(row[metric]) for row in table["full"] if row["status"] == "finished"]
    assert len(values) == len(SEEDS)
    sign = -1 if metric in ("perceptual", "l1") else 1
    difference = statistics.mean(values) - float(table[reference][0][metric])
    return sign * difference, max(values) - min(values)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reference", "metrics"),
    [
        ("degraded", ("perceptual", "identity")),
        ("lq_roundtrip", ("psnr", "ssim", "l1", "perceptual", "identity")),
        ("untrained", ("psnr", "ssim", "l1", "perceptual", "identity")),
    ],
)
def test_full_beats_by_more_than_the_spread_of_the_seeds(table, reference, metrics) -> None:
    for metric in metrics:
        better, spread = gain(table, metric, reference)
        print(f"{metric} over {reference}: {better:+.4f}, spread {spread:.4f}")
        assert better > spread, f"{metric} over {reference}: {better:.4f} against {spread:.4f}"


@pytest.mark.slow
def test_the_vae_leaves_room_above_the_degraded_input(table) -> None:
    ceiling, floor = (float(table[name][0]["psnr"]) for name in ("hq_roundtrip", "degraded"))
    assert ceiling >= floor + 4
