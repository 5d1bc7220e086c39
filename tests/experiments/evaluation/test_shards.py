"""Shards in place of folders, and an evaluation as a W&B run that is read back."""

import json

import pytest

from datamodules.shards import write_shards
from experiments.evaluate import main
from osdface.run_folder import offline_folders
from tests.callbacks.test_wandb_run import closed_records, history
from tests.experiments.evaluation.conftest import COUNT
from tests.experiments.evaluation.test_evaluate import TINY, read, words


@pytest.fixture
def shards(faces):
    """Folders ``restored-shards``, ``hq-shards`` and ``ffhq-shards``, four images a shard."""
    for name in ("restored", "hq", "ffhq"):
        files = sorted((faces / name).glob("*.png"))
        samples = [(file.stem, file.read_bytes(), {"of": name}) for file in files]
        write_shards(samples, faces / f"{name}-shards", "val", shard_size=4)
    return faces


def test_shards_give_the_figures_of_their_pictures(shards) -> None:
    assert main(words(shards, "folders")) == 0
    places = [
        f"restored={shards}/restored-shards/val-{{000000..000002}}.tar",
        f"reference={shards}/hq-shards",
        f"fid_reference={shards}/ffhq-shards/val-*.tar",
    ]
    given = words(shards, "tars", *places)
    assert main([*given, "processes=2", "progress=false"]) == 0
    (rows, folders), (others, tars) = read(shards / "folders"), read(shards / "tars")
    assert [row["image"] for row in rows] == [row["image"] for row in others]
    for name, value in folders["values"].items():
        assert tars["values"][name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    assert (shards / "tars/worst.png").is_file()
    # What the folders' evaluation knows of the same bytes serves the shards.
    assert main([*given, f"output_dir={shards / 'folders'}"]) == 0
    assert read(shards / "folders")[1]["values"] == folders["values"]


def test_a_shard_that_is_cut_off_is_named(shards, capsys) -> None:
    path = shards / "hq-shards/val-000001.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    given = words(shards, "out", f"reference={shards}/hq-shards/*.tar", "metrics=psnr")
    assert main(given) == 2
    error = capsys.readouterr().err
    assert "unreadable (" in error and "val-000001.tar" in error and "allow=" in error
    assert main([*given, "allow=unreadable,extra"]) == 0
    rows, summary = read(shards / "out")
    assert 0 < len(rows) < COUNT and len(summary["left_out"]["unreadable"]) == 1


def test_mistakes_about_shards(shards, capsys) -> None:
    twice = f"{shards}/hq-shards/val-000000.tar::{shards}/more/val-000000.tar"
    first = sorted((shards / "hq").glob("*.png"))[0]
    write_shards([(first.stem, first.read_bytes(), {})], shards / "more", "val")
    for change, told in (
        (f"reference={shards}/none-*.tar", "No shard matches"),
        (f"reference={shards}/none.tar", "does not exist"),
        (f"reference={twice}", "two pictures of one stem"),
    ):
        assert main(words(shards, "out", change)) == 2
        error = capsys.readouterr().err
        assert told in error and "reference=" in error and "data." not in error
        assert error.count("\n") == 1


def test_figures_are_logged_when_asked(faces, capsys) -> None:
    given = [f"restored={faces / 'restored'}", f"reference={faces / 'hq'}", "suffix=_00", *TINY]
    given += [f"output_dir={faces / 'out'}", "metrics=psnr,deg", "grid=2"]
    assert main(given) == 0
    assert not offline_folders(faces / "out")  # nobody asked
    assert main([*given, "wandb=true"]) == 0
    (folder,) = offline_folders(faces / "out")
    assert f"to upload: wandb sync {folder}" in capsys.readouterr().out
    found = closed_records(folder)
    values = read(faces / "out")[1]["values"]
    logged: dict[str, object] = {}
    for row in history(found):
        logged |= row
    assert {name: logged[f"evaluation/{name}"] for name in values} == values
    assert any("worst" in name for name in logged) and any("best" in name for name in logged)
    configuration = {
        item.key: json.loads(item.value_json)
        for record in found
        if record.WhichOneof("record_type") == "run"
        for item in record.run.config.update
    }
    assert configuration["stand_ins"] == ["deg"] and configuration["images"] == COUNT
    assert "(stand-in)" in configuration["specifications"]["deg"]
