"""A node crashes, and the network of another is cut, under a real Slurm: the job goes on."""

import time
from pathlib import Path

import pytest
import torch

from callbacks import find_last
from osdface.files import read_json
from tests.experiments.pipelines.conftest import fast_words
from tests.experiments.pipelines.test_resume import steps_logged
from tests.slurm.conftest import NODES
from tests.slurm.test_train_sbatch import submit

pytestmark = pytest.mark.slurm
TIMEOUT_S = 40


def until(what, seconds, message):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, message()
        time.sleep(0.3)


def state(cluster, job):
    return cluster.run("squeue", "-h", "-j", str(job), "-o", "%T").stdout.strip()


def trainings(cluster, node):
    """The tasks of a node that train."""
    lines = {number: Path(f"/proc/{number}/cmdline") for number in cluster.processes(node)}
    return [
        n for n, path in lines.items() if path.exists() and b"experiments.run" in path.read_bytes()
    ]


def test_a_crashed_node_and_a_cut_network_put_the_job_back_and_it_goes_on(apart, tmp_path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    changes = {"scale.stage2.steps": 60, "scale.stage2.val_every": 60,
               "trainer.timeout_seconds": TIMEOUT_S}  # fmt: skip
    words = ["experiment=osdface", "trainer=ddp_sim", "vre.checkpoint=osdface/assets/tiny/vre",
             *fast_words(cache_dir=tmp_path / "cache", output_dir=out, **changes)]  # fmt: skip
    job = submit(apart, log, *words)

    def told():
        return log.read_text() if log.exists() else "no log"

    def trained(steps):
        until(lambda: steps_logged(out) >= steps, 240, told)

    trained(3)
    begin = time.monotonic()
    apart.crash(NODES[1])
    until(lambda: state(apart, job) == "PENDING", 90, told)
    print(f"back in the queue {time.monotonic() - begin:.0f} s after the crash")
    assert not trainings(apart, NODES[0])
    apart.boot(NODES[1])
    apart.wait_for_nodes()

    trained(steps_logged(out) + 3)
    begin = time.monotonic()
    apart.cut(NODES[1])
    until(lambda: state(apart, job) == "PENDING", 90, told)
    print(f"back in the queue {time.monotonic() - begin:.0f} s after the cut")
    # Nobody reaches that node any more: its task has to end by itself.
    until(lambda: not trainings(apart, NODES[1]), TIMEOUT_S + 60, told)
    print(f"the task behind the cut ended {time.monotonic() - begin:.0f} s after it")
    apart.join(NODES[1])

    assert apart.wait(job, 240) == "COMPLETED", told()
    assert told().count("Going on in") == 2
    assert torch.load(find_last(out), weights_only=True)["generator_step"] == 60
    assert read_json(out / "status.json")["status"] == "finished"
