"""The watch on the discriminator's accuracy: what it says, when, how often, and where."""

import json
from types import SimpleNamespace

import pytest

from callbacks import AccuracyBounds, GuardLog, StatusFile, read_status


class Summary:
    def __init__(self):
        self.values = {}

    def summarize(self, values):
        self.values.update(values)


def run(guard, accuracies, module=None):
    """Feeds a guard with one accuracy a generator step; returns the module."""
    module = module or SimpleNamespace(generator_step=0, logged={}, warnings=[], guard_records=[])
    trainer = SimpleNamespace(is_global_zero=True, global_rank=0)
    guard.on_train_start(trainer, module)
    for accuracy in accuracies:
        module.logged["discriminator/accuracy"] = accuracy
        guard.on_train_batch_end(trainer, module, None, None, 0)  # a micro-batch: no step yet
        module.generator_step += 1
        guard.on_train_batch_end(trainer, module, None, None, 0)
    return module


def written(folder):
    path = folder / "guards.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize(("accuracy", "kind"), [(1.0, "strong"), (0.5, "dead")])
def test_one_warning_in_file_output_status_and_summary(accuracy, kind, tmp_path, capsys):
    summary = Summary()
    guard = GuardLog(tmp_path, AccuracyBounds(4), summary)
    module = run(guard, [accuracy] * 3)
    assert written(tmp_path) == [] and module.warnings == []
    run(guard, [accuracy] * 9, module)
    (record,) = written(tmp_path)
    assert record["kind"] == f"discriminator_{kind}" and record["step"] == 4
    assert record["accuracy"] == accuracy
    assert capsys.readouterr().out == f"warning: {record['message']}\n"
    assert module.warnings == [record["message"]]
    assert summary.values == {f"warning/{kind}": record["message"]}
    status = StatusFile(tmp_path)
    status._write(SimpleNamespace(is_global_zero=True), module, "running")
    assert read_status(tmp_path)["warnings"] == [record["message"]]


def test_the_mean_runs_over_the_window_and_is_logged(tmp_path):
    guard = GuardLog(tmp_path, AccuracyBounds(4, strong=0.9, dead=0.1))
    module = run(guard, [1.0, 0.0, 1.0, 1.0])
    assert module.logged["discriminator/accuracy_mean"] == 0.75
    run(guard, [1.0], module)
    assert module.logged["discriminator/accuracy_mean"] == 0.75 and written(tmp_path) == []
    run(guard, [1.0], module)
    assert [each["kind"] for each in written(tmp_path)] == ["discriminator_strong"]
    run(guard, [0.0] * 4, module)
    assert [each["step"] for each in written(tmp_path)] == [6, 10]  # dead only when all four are


def test_a_healthy_discriminator_and_a_run_without_one_say_nothing(tmp_path):
    run(GuardLog(tmp_path, AccuracyBounds(3)), [0.7, 0.8, 0.6, 0.9] * 3)
    run(GuardLog(tmp_path, AccuracyBounds(0)), [1.0] * 9)
    module = run(GuardLog(tmp_path), [1.0] * 9)
    assert "discriminator/accuracy_mean" not in module.logged
    assert list(tmp_path.iterdir()) == []


def test_a_resumed_run_goes_on_with_its_window_and_does_not_repeat_itself(tmp_path):
    first = GuardLog(tmp_path, AccuracyBounds(4))
    run(first, [1.0] * 3)
    second = GuardLog(tmp_path, AccuracyBounds(4))
    second.load_state_dict(first.state_dict())
    run(second, [1.0])
    assert len(written(tmp_path)) == 1
    third = GuardLog(tmp_path, AccuracyBounds(4))
    third.load_state_dict(second.state_dict())
    module = run(third, [1.0] * 5)
    assert len(written(tmp_path)) == 1 and len(module.warnings) == 1
