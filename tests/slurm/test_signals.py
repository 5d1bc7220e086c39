"""Signals, requeue and preemption on a real Slurm of two nodes: no step is lost or repeated."""

import time

import pytest
import torch

from callbacks import find_last
from osdface.files import read_json
from tests.experiments.pipelines.conftest import fast_words
from tests.slurm.test_train_sbatch import SCRIPT, submit

pytestmark = pytest.mark.slurm
# Without periodic checkpoints: what is there after an interruption was saved at the signal.
CHANGES = {
    "scale.stage2.steps": 40,
    "scale.stage2.val_every": 15,
    "scale.stage2.checkpoint_every": 1000,
    "scale.stage2.ema_decay": 0.5,
    "data.num_workers": 1,
}
DDP, LONG = "trainer=ddp_sim", 600  # steps: longer than a job may be


def words(tmp_path, out, **changes):
    own = fast_words(cache_dir=tmp_path / "cache", output_dir=out, **{**CHANGES, **changes})
    return ["experiment=osdface", DDP, "vre.checkpoint=osdface/assets/tiny/vre", *own]


def wait_for_step(run_dir, step, seconds=120.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            rows = (run_dir / "metrics.csv").read_text().splitlines()
        except OSError:
            rows = []
        if any(row.startswith(f"{step},") for row in rows):
            return
        time.sleep(0.05)
    raise AssertionError(f"step {step} was not reached in {seconds:.0f} s")


def states(run_dir):
    state = torch.load(find_last(run_dir), weights_only=True)
    return {
        **state["state_dict"],
        **{f"average/{name}": value for name, value in state["callbacks"]["EMA"]["shadow"].items()},
        "step": torch.tensor(state["generator_step"]),
        "random": state["random_state"],
    }


def assert_same(one, other):
    found, wanted = states(one), states(other)
    assert found.keys() == wanted.keys()
    assert [name for name in found if not torch.equal(found[name], wanted[name])] == []


@pytest.fixture(scope="module")
def whole(cluster, tmp_path_factory):
    """The run that nothing interrupts, and its cache of portraits."""
    folder = tmp_path_factory.mktemp("whole")
    log = folder / "log"
    job = submit(cluster, log, *words(folder, folder / "out"))
    assert cluster.wait(job, 240) == "COMPLETED", log.read_text()
    return folder


def test_a_burst_of_signals_saves_and_requeues_to_the_same_weights(cluster, whole, tmp_path):
    """Twice, on two nodes; the job's time limit sends the same signal the same way."""
    log, out = tmp_path / "log", tmp_path / "out"
    job = submit(cluster, log, *words(whole, out))
    for step in (4, 20):
        wait_for_step(out, step)
        # At once: one that comes seconds later could meet the next start before it has handlers.
        burst = f"for n in $(seq 20); do scancel --signal=USR1 {job} & done; wait"
        cluster.run("bash", "-c", burst)
        if step == 4:
            wait_for_step(out, 8)
    assert cluster.wait(job, 240) == "COMPLETED", log.read_text()
    told = log.read_text()
    assert told.count("A signal came: saved at step") == 2, told
    assert told.count(f"Slurm job {job} is requeued and goes on by itself.") == 2
    assert told.count("Going on in") == 2 and "Traceback" not in told
    assert_same(out, whole / "out")


def test_sigterm_saves_and_is_not_requeued(cluster, whole, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    job = submit(cluster, log, *words(whole, out))
    wait_for_step(out, 3)
    assert cluster.run("scancel", str(job)).returncode == 0
    assert cluster.wait(job, 60) == "CANCELLED", log.read_text()
    assert read_json(out / "status.json")["status"] == "running"
    saved = int(states(out)["step"])
    assert saved >= 3 and "requeued" not in log.read_text()

    job = submit(cluster, tmp_path / "log2", *words(whole, out))
    assert cluster.wait(job, 240) == "COMPLETED", (tmp_path / "log2").read_text()
    assert_same(out, whole / "out")


def test_a_job_of_higher_priority_takes_the_nodes_and_gives_them_back(cluster, whole, tmp_path):
    log, out = tmp_path / "log", tmp_path / "out"
    job = submit(cluster, log, *words(whole, out))
    wait_for_step(out, 5)
    urgent = cluster.submit(
        "--partition=high", "--nodes=2", "--exclusive", f"--output={tmp_path}/urgent",
        "--wrap=sleep 1",
    )  # fmt: skip
    assert cluster.wait(urgent, 120) == "COMPLETED"
    assert cluster.wait(job, 240) == "COMPLETED", log.read_text()
    told = log.read_text()
    assert told.count("A signal came: saved at step") == 1, told
    assert told.count("Going on in") == 1
    assert_same(out, whole / "out")


@pytest.mark.slow
def test_a_time_limit_stretches_over_as_many_requeues_as_it_takes(cluster, whole, tmp_path):
    """A run longer than its job may be; over five minutes, as a limit is whole minutes."""
    steps = {"scale.stage2.steps": LONG, "scale.stage2.val_every": LONG // 3}
    jobs = {}
    for name, limit in (("whole", "--time=30"), ("cut", "--time=2")):
        own = [each for each in words(whole, tmp_path / name, **steps) if each != DDP]
        jobs[name] = cluster.submit(
            "--nodes=1", "--ntasks-per-node=1", limit, "--signal=USR1@45",
            f"--output={tmp_path / name}.log", SCRIPT, *own,
        )  # fmt: skip
    for name, job in jobs.items():
        log = tmp_path / f"{name}.log"
        assert cluster.wait(job, 900) == "COMPLETED", log.read_text()
    told = (tmp_path / "cut.log").read_text()
    stops = told.count("A signal came: saved at step")
    assert stops >= 1 and told.count("Going on in") == stops, told
    assert told.count(f"Slurm job {jobs['cut']} is requeued and goes on by itself.") == stops
    assert "TIME LIMIT" not in told and "A signal" not in (tmp_path / "whole.log").read_text()
    assert_same(tmp_path / "cut", tmp_path / "whole")
