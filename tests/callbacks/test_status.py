import pytest
from lightning.pytorch import Callback

from callbacks import StatusFile, StepCheckpoint, read_status, write_status


class Watch(Callback):
    def __init__(self, run_dir):
        self.run_dir, self.seen = run_dir, []

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.seen.append(read_status(self.run_dir))


def test_running_with_step_and_seconds(toy, tmp_path):
    module, fit = toy
    watch = Watch(tmp_path)
    fit(module(max_steps=3), StatusFile(tmp_path, every_seconds=0), watch)
    assert [status["step"] for status in watch.seen] == [1, 2, 3]
    assert {status["status"] for status in watch.seen} == {"running"}
    final = read_status(tmp_path)
    assert final["status"] == "running" and final["step"] == 3 and final["seconds"] >= 0
    assert set(final) == {"status", "reason", "step", "seconds", "wandb_run"}


@pytest.mark.parametrize(
    ("options", "reason", "step"),
    [
        ({"fail_at": 3}, "RuntimeError: loss is not finite", 2),
        ({"fail_when": "start"}, "RuntimeError: no memory", 0),
        ({"fail_when": "validation"}, "RuntimeError: validation broke", 4),
    ],
)
def test_failed_with_the_reason(toy, tmp_path, options, reason, step):
    module, fit = toy
    with pytest.raises(RuntimeError):
        fit(module(**options), StatusFile(tmp_path))
    status = read_status(tmp_path)
    assert (status["status"], status["reason"], status["step"]) == ("failed", reason, step)


def test_seconds_go_on_after_a_resume_and_not_in_a_fresh_run(toy, tmp_path):
    module, fit = toy
    fit(module(max_steps=2), StatusFile(tmp_path), StepCheckpoint(tmp_path))
    write_status(tmp_path, "failed", "killed", step=2, seconds=500.0)
    last = tmp_path / "checkpoints/last.ckpt"
    fit(module(max_steps=4), StatusFile(tmp_path), ckpt_path=last)
    assert 500 <= read_status(tmp_path)["seconds"] < 600
    fit(module(max_steps=4), StatusFile(tmp_path))
    assert read_status(tmp_path)["seconds"] < 100
