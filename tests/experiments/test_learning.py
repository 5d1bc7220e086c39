"""The embedded default visibly learns: the claim of the README, over three seeds."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from osdface.files import read_json
from osdface.run_folder import is_finished

ROOT = Path(__file__).resolve().parents[2]
SEEDS = (0, 1, 2)


def read_table(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Returns the figures of each reference, and of `full` with each seed."""
    references = read_json(folder / "references" / "metrics.json")
    rows = {name: [figures] for name, figures in references.items()}
    runs = [folder / "full" / f"seed-{seed}" for seed in SEEDS]
    assert all(is_finished(run) for run in runs)
    return rows | {"full": [read_json(run / "metrics.json") for run in runs]}


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> dict[str, list[dict[str, float]]]:
    """`full` at the default size with three seeds."""
    folder = tmp_path_factory.mktemp("learning")
    words = ["experiment=ablation_losses", "variants=full", f"seeds={','.join(map(str, SEEDS))}"]
    words += [f"output_dir={folder / 'out'}", f"cache_dir={folder / 'cache'}", "logger=csv"]
    command = [sys.executable, "-m", "experiments.run", *words, "progress=false"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=3600)
    return read_table(folder / "out")


def gain(table, metric: str, reference: str) -> tuple[float, float]:
    """Returns the mean gain of `full`, positive if better, and the spread over the seeds."""
    values = [row[metric] for row in table["full"]]
    sign = -1 if metric in ("perceptual", "l1") else 1
    difference = statistics.mean(values) - table[reference][0][metric]
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
    ceiling, floor = (table[name][0]["psnr"] for name in ("hq_roundtrip", "degraded"))
    assert ceiling >= floor + 4
