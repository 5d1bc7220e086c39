"""experiments/slurm/train.sbatch on a real Slurm: two nodes, one task each, gloo."""

import pytest
import torch

from osdface.files import read_json
from tests.experiments.pipelines.conftest import fast_words

pytestmark = pytest.mark.slurm
SCRIPT = "experiments/slurm/train.sbatch"


def submit(cluster, log, *words, nodes=2):
    layout = [f"--nodes={nodes}", "--ntasks-per-node=1", f"--output={log}"]
    return cluster.submit(*layout, SCRIPT, *words)


def test_two_nodes_train_one_run_and_the_same_submission_resumes(cluster, tmp_path) -> None:
    """The cache is empty: stage 1 is trained by both tasks too."""
    out, log = tmp_path / "out", tmp_path / "log"
    words = ["experiment=osdface", "trainer=ddp_sim",
             *fast_words(cache_dir=tmp_path / "cache", output_dir=out)]  # fmt: skip
    state = cluster.wait(submit(cluster, log, *words), 400)
    told = log.read_text()
    assert state == "COMPLETED", told
    # Written once, by the first task.
    for line in (f"{out}\n", "rendering train portraits: 100%"):
        assert told.count(line) == 1, told
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in told
    status = read_json(out / "status.json")
    assert (status["status"], status["step"]) == ("finished", 2)
    rows = (out / "metrics.csv").read_text().splitlines()
    assert sum(row.startswith("1,") for row in rows) == 1
    # Two tasks take two batches a step: the loader's position counts both.
    last = out / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["config"]["trainer"]["num_nodes"] == 2
    before = last.stat().st_mtime_ns

    log = tmp_path / "log2"
    assert cluster.wait(submit(cluster, log, *words), 200) == "COMPLETED", log.read_text()
    assert "finished: nothing to do" in log.read_text()
    assert last.stat().st_mtime_ns == before


def test_tasks_that_do_not_fit_are_told_in_one_sentence(cluster, tmp_path) -> None:
    log = tmp_path / "log"
    # The last word of a key counts, and the script's own come last: two nodes, one device each.
    job = submit(cluster, log, "experiment=osdface", "trainer=ddp_sim")
    assert cluster.wait(job, 120) == "FAILED"
    assert "srun with several tasks needs output_dir=" in log.read_text()
    assert "Traceback" not in log.read_text()
