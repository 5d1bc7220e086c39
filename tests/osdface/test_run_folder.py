import pytest

from osdface.run_folder import (
    is_finished,
    offline_folders,
    one_line,
    read_status,
    sync_command,
    update_status,
    write_status,
)


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_broken_status_reads_as_empty(tmp_path, text):
    (tmp_path / "status.json").write_text(text, errors="surrogateescape")
    assert read_status(tmp_path) == {} and not is_finished(tmp_path)


def test_an_update_keeps_the_other_entries(tmp_path):
    update_status(tmp_path / "new", status="running")
    assert set(read_status(tmp_path / "new")) == {
        *("status", "reason", "step", "seconds", "wandb_run")
    }
    write_status(tmp_path, "running", step=3, seconds=1.234, wandb_run="abc")
    update_status(tmp_path, status="finished")
    assert is_finished(tmp_path)
    assert read_status(tmp_path) == {
        "status": "finished",
        "reason": None,
        "step": 3,
        "seconds": 1.23,
        "wandb_run": "abc",
    }


def test_an_error_is_one_short_line():
    assert one_line(ValueError("\n loss is nan \nand more")) == "ValueError: loss is nan"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert len(one_line(ValueError("x" * 1000))) == 300


def test_offline_runs_of_a_folder_and_of_those_below(tmp_path):
    assert sync_command(tmp_path, nested=True) is None
    late, early = tmp_path / "wandb/offline-run-2", tmp_path / "a b/wandb/offline-run-1"
    for run in (late, early):
        run.mkdir(parents=True)
    (tmp_path / "wandb/offline-run-3").write_text("no folder")
    assert offline_folders(tmp_path) == [late]
    assert offline_folders(tmp_path, nested=True) == [early, late]
    assert sync_command(tmp_path, nested=True) == f"wandb sync '{early}' {late}"
