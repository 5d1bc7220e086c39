"""Real offline runs, read back from the files that W&B wrote."""

import json
import struct
import time

import numpy as np
import pytest
import wandb
from wandb.proto import wandb_internal_pb2

from callbacks import ImageGrid, StepCheckpoint, WandbRun, find_last, sync_command
from callbacks.wandb_folder import has_account, resolve_mode, stable_run_id, trial_run_id
from osdface.run_folder import offline_folders


def records(folder):
    """Reads the records of an offline run: LevelDB's log format after a header of seven bytes."""
    data = next(folder.glob("*.wandb")).read_bytes()
    assert data[:4] == b":W&B"
    position, whole, found = 7, b"", []
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:  # records do not start in the last bytes of a block
            position += 32768 - position % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + 7])
        whole += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # full, or the last part
            found.append(wandb_internal_pb2.Record.FromString(whole))
            whole = b""
    return found


def history(found):
    rows = []
    for record in found:
        if record.WhichOneof("record_type") == "history":
            items = record.history.item
            rows.append({"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items})
    return rows


def closed_records(folder):
    """Reads a finished run; W&B's process may flush the file a moment after ``finish``."""
    for _ in range(100):
        if exit_codes(found := records(folder)):
            return found
        time.sleep(0.1)
    raise AssertionError(f"the run in {folder} was never closed")


def exit_codes(found):
    return [r.exit.exit_code for r in found if r.WhichOneof("record_type") == "exit"]


def test_a_run_and_its_resume_share_an_id_and_the_generator_step(toy, tmp_path):
    module, fit = toy
    options = {"name": "full", "group": "ablation_losses", "tags": ("tiny",), "every_n_steps": 2}
    with WandbRun(tmp_path, config={"seed": 3}, **options) as run:
        fit(module(max_steps=5), run, ImageGrid(tmp_path, run), StepCheckpoint(tmp_path))
        first_id = run.run_id
        run.summarize({"status": "finished"})
    time.sleep(1.1)  # W&B names the folders by the second
    with WandbRun(tmp_path, **options) as run:
        fit(module(max_steps=8), run, ckpt_path=find_last(tmp_path))
    assert wandb.run is None
    first, second = offline_folders(tmp_path)
    assert first.name.endswith(first_id) and second.name.endswith(first_id)
    assert sync_command(tmp_path) == f"wandb sync {first} {second}"

    found = closed_records(first)
    kinds = [record.WhichOneof("record_type") for record in found]
    start = next(record.run for record in found if record.WhichOneof("record_type") == "run")
    assert (start.run_group, list(start.tags)) == ("ablation_losses", ["tiny"])
    assert exit_codes(found) == [0] and kinds.count("run") == 1
    # What makes `wandb sync` append the second folder to the first and count its steps on.
    for part in (found, closed_records(second)):
        assert [r.run.resume for r in part if r.WhichOneof("record_type") == "run"] == [True]
    metrics = [r.metric for r in found if r.WhichOneof("record_type") == "metric"]
    assert any(m.glob_name == "*" and m.step_metric == "generator_step" for m in metrics)
    rows = history(found)
    assert all("generator_step" in row for row in rows)
    assert [r["generator_step"] for r in rows if "loss/total" in r] == [1, 2, 4]
    assert [(r["generator_step"], r["val/psnr"]) for r in rows if "val/psnr" in r] == [
        (4, 24.0),
        (5, 25.0),
    ]
    assert [r["generator_step"] for r in rows if "images/grid/path" in r] == [4, 5]
    assert len(list(first.glob("files/media/images/**/*.png"))) == 2
    assert [r["generator_step"] for r in history(closed_records(second)) if "loss/total" in r] == [
        6,
        8,
    ]


def test_no_run_stays_open_when_the_training_fails(toy, tmp_path):
    module, fit = toy
    with pytest.raises(RuntimeError, match="no memory"), WandbRun(tmp_path) as run:
        fit(module(fail_when="start"), run)
    assert run.run is None and wandb.run is None
    (folder,) = offline_folders(tmp_path)
    found = closed_records(folder)
    assert exit_codes(found) == [1]
    summary = {
        i.key or "/".join(i.nested_key): json.loads(i.value_json)
        for r in found
        if r.WhichOneof("record_type") == "summary"
        for i in r.summary.update
    }
    assert summary["reason"] == "RuntimeError: no memory"


class FakeRun:
    def __init__(self, fail=()):
        self.fail, self.calls, self.rows, self.summary = set(fail), [], [], {}

    def _call(self, name, value=None):
        self.calls.append((name, value))
        if name in self.fail:
            raise ConnectionError("network is down")

    def define_metric(self, name, step_metric=None):
        self._call("define_metric", name)

    def log(self, values):
        self._call("log", values)

    def finish(self, exit_code=0):
        self._call("finish", exit_code)


def test_an_outage_at_the_start_falls_back_to_offline(toy, tmp_path, monkeypatch):
    modes, fake = [], FakeRun()

    def init(mode, **options):
        modes.append((mode, options["resume"]))
        if mode == "online":
            raise wandb.errors.CommError("timed out")
        return fake

    monkeypatch.setattr(wandb, "init", init)
    module, fit = toy
    with pytest.warns(UserWarning, match="goes on offline"), WandbRun(tmp_path, mode="online") as r:
        fit(module(max_steps=2), r)
    assert modes == [("online", "allow"), ("offline", "allow")]
    assert fake.calls[-1] == ("finish", 0)


def test_training_goes_on_without_wandb(toy, tmp_path, monkeypatch):
    def init(**options):
        raise OSError("read-only file system")

    monkeypatch.setattr(wandb, "init", init)
    module, fit = toy
    model = module(max_steps=2)
    with pytest.warns(UserWarning, match="goes on without W&B"), WandbRun(tmp_path) as run:
        fit(model, run, ImageGrid(tmp_path, run))
    assert model.generator_step == 2 and run.run_id is None


@pytest.mark.parametrize("fail", ["log", "finish", "define_metric"])
def test_failing_calls_are_warnings_and_the_run_is_closed(toy, tmp_path, monkeypatch, fail):
    fakes = []

    def init(**options):
        fakes.append(FakeRun({fail}))
        return fakes[-1]

    monkeypatch.setattr(wandb, "init", init)
    module, fit = toy
    model = module(max_steps=2)
    with pytest.warns(UserWarning, match="network is down"):
        fit(model, WandbRun(tmp_path, every_n_steps=1))
    assert model.generator_step == 2
    assert all([name for name, _ in fake.calls].count("finish") == 1 for fake in fakes)


@pytest.mark.parametrize(("managed", "options"), [(True, {"fail_at": 2}), (False, {"fail_at": 2})])
def test_exit_code_after_an_error(toy, tmp_path, monkeypatch, managed, options):
    fake = FakeRun()
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    module, fit = toy
    run = WandbRun(tmp_path)
    with pytest.raises(RuntimeError):
        if managed:
            with run:
                fit(module(**options), run)
        else:
            fit(module(**options), run)
    assert [call for call in fake.calls if call[0] == "finish"] == [("finish", 1)]


def test_an_error_caught_inside_the_with_still_counts(toy, tmp_path, monkeypatch):
    fake = FakeRun()
    monkeypatch.setattr(wandb, "init", lambda **_: fake)
    module, fit = toy
    with WandbRun(tmp_path) as run:
        with pytest.raises(RuntimeError):
            fit(module(fail_at=2), run)
        run.summarize({"status": "failed"})
    assert fake.summary == {"status": "failed"}
    assert fake.calls[-1] == ("finish", 1)


def test_disabled_writes_nothing(toy, tmp_path):
    module, fit = toy
    with WandbRun(tmp_path, mode="disabled") as run:
        fit(module(max_steps=2), run)
        run.log_image("grid", np.zeros((4, 4, 3), np.uint8), 1)
    assert not list(tmp_path.iterdir())


def test_mode_and_account(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not has_account() and resolve_mode("auto") == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password not-a-real-key\n")
    assert has_account() and resolve_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert resolve_mode("auto") == "offline" and resolve_mode("online") == "online"
    with pytest.raises(ValueError, match="must be one of"):
        resolve_mode("onlin")


def test_the_run_id_is_stable(tmp_path):
    first = stable_run_id(tmp_path)
    assert stable_run_id(tmp_path, "other") == first
    assert stable_run_id(tmp_path / "given", "mine") == "mine"


def test_only_a_trial_of_a_sweep_takes_the_agents_id(monkeypatch) -> None:
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    monkeypatch.setenv("WANDB_RUN_ID", "trial7")
    assert trial_run_id() is None
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep1")
    assert trial_run_id() == "trial7"
