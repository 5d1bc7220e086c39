"""A mistake is one sentence, exit status 2, and nothing is written or lost."""

from pathlib import Path

import pytest
import torch

from experiments.export import main
from experiments.exporting import main as exporting
from experiments.exporting.parity import largest_difference, sample_images
from osdface.checkpoints.folder import read_config
from osdface.checkpoints.vre_export import load_vre
from osdface.errors import UserError
from osdface.restorer import Restorer


@pytest.fixture
def words(run_dir) -> list[str]:
    return [f"checkpoint={run_dir / 'export'}", "format=safetensors", "output=out"]


def refused(words: list[str], expected: str, capsys) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert expected in error and error.startswith("error: ") and error.count("\n") == 1
    assert not list(Path().glob(".*"))  # no temporary folder


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["checkpoint=gone"], "There is no gone"),
        (["checkpoint=empty"], "no export folder"),
        (["checkpoint=text.ckpt"], "no checkpoint that can be read"),
        (["format=onx"], "did you mean onnx"),
        (["format=null"], "value of format"),
        (["outptu=x"], "did you mean output"),
        (["overwrite=perhaps"], "true or false"),
        (["base=gone"], "The base gone is not there"),
        (["output=text.ckpt"], "is there and is no folder"),
        (["output=empty"], "is there: name another folder, or give overwrite=true"),
        (["output=others", "overwrite=true"], "holds precious.txt, which no export wrote"),
        (["output=odd", "overwrite=true"], "is no export of this command"),
        (["output=text.ckpt/below"], "cannot be written"),
    ],
)
def test_one_sentence(changes, expected, words, elsewhere, capsys) -> None:
    for name in ("empty", "others", "odd"):
        (elsewhere / name).mkdir()
    (elsewhere / "text.ckpt").write_text("no checkpoint")
    (elsewhere / "others/precious.txt").write_text("precious")
    (elsewhere / "odd/config.json").write_text('{"kind": "osdface"}')
    refused([*words, *changes], expected, capsys)
    assert (elsewhere / "others/precious.txt").read_text() == "precious"
    assert not (elsewhere / "out").exists()


def test_required_keys_are_named(capsys) -> None:
    refused(["checkpoint=tiny"], "format=... output=... is missing", capsys)


def test_an_export_is_replaced_only_when_told(words, elsewhere, capsys) -> None:
    assert main(words) == 0
    (elsewhere / "out/README.md").write_text("mine")
    refused(words, "overwrite=true", capsys)
    assert (elsewhere / "out/README.md").read_text() == "mine"
    assert main([*words, "overwrite=true"]) == 0
    assert "One-step" in (elsewhere / "out/README.md").read_text("utf-8")
    assert [path.name for path in elsewhere.iterdir()] == ["out"]
    again = ["checkpoint=out", *words[1:], "overwrite=true"]
    refused(again, "holds the checkpoint itself", capsys)
    refused([*again[:-1], "output=more", "base=x"], "brings its own", capsys)


def test_what_differs_is_not_kept(words, elsewhere, capsys, monkeypatch) -> None:
    assert main(words) == 0
    before = (elsewhere / "out/config.json").read_bytes()
    monkeypatch.setattr(exporting, "largest_difference", lambda *_: 0.5)
    refused([*words, "overwrite=true"], "differs from the restorer by 0.5", capsys)
    assert (elsewhere / "out/config.json").read_bytes() == before
    monkeypatch.setattr(exporting, "largest_difference", lambda *_: float("inf"))
    refused([*words, "output=new"], "by inf", capsys)
    assert not (elsewhere / "new").exists()


def test_parity_sees_a_single_pixel(run_dir) -> None:
    restorer = Restorer.from_pretrained(run_dir / "export", device="cpu")
    images = sample_images(16)
    assert images.shape == (5, 3, 16, 16) and images.abs().max() <= 1 and images.std() > 0.1

    def wrong(value: float):
        def run(batch: torch.Tensor) -> torch.Tensor:
            found = torch.as_tensor(restorer.restore(batch).images)
            found[-1, 0, 3, 4] += value if len(batch) == 5 else 0
            return found

        return largest_difference(restorer, run)

    assert wrong(0.0) < 1e-4 and wrong(0.25) == pytest.approx(0.25, abs=1e-4)
    assert wrong(float("nan")) == float("inf")
    assert largest_difference(restorer, lambda batch: batch[:, :1]) == float("inf")


def test_a_merged_or_traced_export_is_refused_elsewhere_by_name(words, elsewhere) -> None:
    assert main(words) == 0
    with pytest.raises(UserError, match="no training starts from it"):
        read_config(elsewhere / "out", "osdface")
    assert load_vre(elsewhere / "out").codebook.shape == (32, 16)
    (elsewhere / "graph").mkdir()
    for kind, runner in (("onnx", "onnxruntime"), ("torch_export", "torch.export")):
        config = f'{{"format_version": 3, "kind": "{kind}"}}'
        (elsewhere / "graph/config.json").write_text(config)
        with pytest.raises(UserError, match=f"a graph that {runner} runs"):
            Restorer.from_pretrained(elsewhere / "graph", device="cpu")
