"""Two real processes over gloo, started by the command itself."""

import subprocess
import sys
from pathlib import Path

from osdface.files import read_json
from tests.experiments.pipelines.conftest import fast_words

ROOT = Path(__file__).resolve().parents[3]


def test_one_variant_fails_the_other_is_kept(tmp_path) -> None:
    """The cache is empty: stage 1 is trained by both processes too."""
    # Missing files are told before anything starts; this one is there and turns out to be broken.
    broken = tmp_path / "broken_network.safetensors"
    broken.write_bytes(b"not tensors")
    words = fast_words(
        cache_dir=tmp_path / "cache",
        output_dir=tmp_path / "out",
        trainer="ddp_sim",
        variants="mse,full",
        # Only "full" has the identity loss, so only it reads this file.
        **{"scale.stage2.identity_loss": broken},
    )
    command = [sys.executable, "-m", "experiments.run", "experiment=ablation_losses", *words]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert run.returncode == 1, run.stdout + run.stderr
    assert run.stdout.strip().splitlines()[-1] == str(tmp_path / "out")
    status = {v: read_json(tmp_path / "out" / v / "status.json") for v in ("mse", "full")}
    assert status["mse"]["status"] == "finished"
    assert status["full"]["status"] == "failed"
    assert "broken_network" in status["full"]["reason"]
    table = (tmp_path / "out" / "ablation.csv").read_text()
    assert "mse,finished" in table and "full,failed" in table
