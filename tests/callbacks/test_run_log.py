import csv
from types import SimpleNamespace

import pytest
from lightning.pytorch import Callback

from callbacks import RunLog, StepCheckpoint, Throughput
from callbacks.run_table import RunTable, read_table
from callbacks.throughput import count_images
from callbacks.values import training_values


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def steps(path):
    return [int(row["step"]) for row in table(path)]


def test_metrics_csv_has_train_and_validation_figures_by_generator_step(toy, tmp_path):
    module, fit = toy
    fit(module(max_steps=11), Throughput(window=5), RunLog(tmp_path, every_n_steps=3))
    rows = table(tmp_path / "metrics.csv")
    # step 1, each third step, validations at 4 and 8 and at the stop
    assert steps(tmp_path / "metrics.csv") == [1, 3, 4, 6, 8, 9, 11]
    assert rows[0]["discriminator/accuracy"] == "" and rows[3]["discriminator/accuracy"] == "0.5"
    assert rows[2]["val/psnr"] == "24.0" and rows[2]["loss/total"] == ""
    assert rows[-1]["val/psnr"] == "31.0" and float(rows[-1]["loss/total"]) > 0
    assert float(rows[-1]["throughput/images_per_second"]) > 0
    assert 0 <= float(rows[-1]["throughput/data_wait_share"]) <= 1
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)


def test_a_validation_says_what_was_spent_until_then(toy, tmp_path):
    """The axes of a comparison's curves; the last row of training lies steps back."""

    def counts(trainer, pl_module, *_):
        pl_module.logged["throughput/images_seen"] = 8.0 * pl_module.generator_step

    module, fit = toy
    counter = Callback()
    counter.on_train_batch_end = counts
    fit(module(max_steps=11), counter, RunLog(tmp_path, every_n_steps=10))
    rows = {int(row["step"]): row for row in table(tmp_path / "metrics.csv")}
    assert rows[4]["val/psnr"] and rows[4]["loss/total"] == ""
    assert rows[4]["throughput/images_seen"] == "32.0"


def test_resume_drops_the_rows_of_the_lost_past(toy, tmp_path):
    module, fit = toy
    saved = StepCheckpoint(tmp_path, every_n_steps=5)
    with pytest.raises(RuntimeError, match="not finite"):
        fit(module(max_steps=11, fail_at=9), saved, RunLog(tmp_path, every_n_steps=1))
    assert steps(tmp_path / "metrics.csv") == list(range(1, 9))
    before = table(tmp_path / "metrics.csv")
    fit(
        module(max_steps=11),
        StepCheckpoint(tmp_path, every_n_steps=5),
        RunLog(tmp_path, every_n_steps=1),
        ckpt_path=tmp_path / "checkpoints/last.ckpt",
    )
    after = table(tmp_path / "metrics.csv")
    assert steps(tmp_path / "metrics.csv") == list(range(1, 12))
    assert after[:5] == before[:5]
    assert float(after[5]["seconds"]) >= float(before[4]["seconds"])


def test_a_fresh_run_starts_a_fresh_table(toy, tmp_path):
    (tmp_path / "metrics.csv").write_text("step,seconds,old\n40,1.0,3\n")
    module, fit = toy
    fit(module(max_steps=2), RunLog(tmp_path, every_n_steps=1))
    assert steps(tmp_path / "metrics.csv") == [1, 2]
    assert "old" not in table(tmp_path / "metrics.csv")[0]


def test_a_cut_off_line_is_dropped(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,seconds,loss\n1,0.5,0.25\n2,1.0,0.12")
    assert read_table(path) == [{"step": "1", "seconds": "0.5", "loss": "0.25"}]
    grown = RunTable(path, step=2)
    grown.add(2, 1.5, {"loss": 0.125})
    grown.add(2, 1.5, {"val/psnr": 30})
    assert [row["step"] for row in read_table(path)] == ["1", "2"]
    assert read_table(path)[1] == {
        "step": "2",
        "seconds": "1.50",
        "loss": "0.125",
        "val/psnr": "30.0",
    }


def test_images_are_counted_by_generator_steps_under_accumulation(toy, tmp_path):
    module, fit = toy
    speed = Throughput()
    fit(module(max_steps=4, accumulate=2), speed, val_every=100, limit_train_batches=100)
    assert [images for _, _, images in speed.history] == [4, 4, 4, 4]
    figures = speed.figures()
    assert figures["throughput/images_per_second"] == pytest.approx(
        4 / figures["throughput/step_seconds"]
    )


def test_count_images():
    import torch

    assert count_images({"key": ["a"], "lq": torch.zeros(5, 3), "hq": torch.zeros(5, 3)}) == 5
    assert count_images((torch.zeros(3, 1), torch.zeros(3))) == 3
    assert count_images(["a"]) == 0


def test_replaced_pictures_are_counted_once_there_are_some(toy):
    module, _ = toy
    training, trainer = module(max_steps=1), SimpleNamespace(datamodule=SimpleNamespace())
    training.logged = {"loss/total": 1.0}
    assert training_values(training) == {"loss/total": 1.0}
    training._trainer = trainer
    for broken, extra in (([], {}), (["a", "b"], {"data/broken": 2.0})):
        trainer.datamodule.broken_keys = broken
        assert training_values(training) == {"loss/total": 1.0} | extra
