"""experiments/slurm/train.sbatch on a real Slurm: two nodes, one task each, gloo."""

import time

import pytest
import torch

from callbacks import find_last
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
    last = out / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["config"]["trainer"]["num_nodes"] == 2
    before = last.stat().st_mtime_ns

    log = tmp_path / "log2"
    assert cluster.wait(submit(cluster, log, *words), 200) == "COMPLETED", log.read_text()
    assert "finished: nothing to do" in log.read_text()
    assert last.stat().st_mtime_ns == before


@pytest.mark.quick
def test_tasks_that_do_not_fit_are_told_in_one_sentence(cluster, tmp_path) -> None:
    log = tmp_path / "log"
    # The last word of a key counts, and the script's own come last: two nodes, one device each.
    job = submit(cluster, log, "experiment=osdface", "trainer=ddp_sim")
    assert cluster.wait(job, 300) == "FAILED"
    assert "srun with several tasks needs output_dir=" in log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_requeued_run_ends_in_the_same_weights(cluster, tmp_path) -> None:
    def words(out):
        changes = {"scale.stage2.steps": 30, "scale.stage2.val_every": 30}
        return ["experiment=osdface", "trainer=ddp_sim", "vre.checkpoint=osdface/assets/tiny/vre",
                *fast_words(cache_dir=tmp_path / "cache", output_dir=out, **changes)]  # fmt: skip

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    log = tmp_path / "log"
    assert cluster.wait(submit(cluster, log, *words(whole)), 300) == "COMPLETED", log.read_text()

    log = tmp_path / "log2"
    job = submit(cluster, log, *words(cut))
    end = time.monotonic() + 120
    while not find_last(cut) and time.monotonic() < end:
        time.sleep(0.2)
    assert cluster.run("scontrol", "requeue", str(job)).returncode == 0, log.read_text()
    assert cluster.wait(job, 300) == "COMPLETED", log.read_text()
    told = log.read_text()
    assert told.count("Going on in") == 1 and "nothing to do" not in told

    states = [torch.load(find_last(out), weights_only=True) for out in (whole, cut)]
    assert states[0]["generator_step"] == states[1]["generator_step"] == 30
    weights = [state["state_dict"] for state in states]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
