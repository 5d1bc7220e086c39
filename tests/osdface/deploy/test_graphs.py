"""Exported graphs give what torch gives, ties included, in any batch."""

import pytest
import torch
from torch import Tensor, nn

from osdface.deploy.graphs import (
    check_packages,
    exported_program,
    open_onnx,
    open_torch_export,
    write_onnx,
    write_torch_export,
)
from osdface.deploy.pipeline import RestorationPipeline
from osdface.errors import UserError
from osdface.networks.lora import merge_lora
from osdface.networks.prompts import KINDS, build_prompt_source
from osdface.networks.selection import (
    nearest_entries,
    select_entries,
    select_with_duplicates,
    select_with_positions,
)


class Selections(nn.Module):
    """All selections of (B, 3, 16, 16) as 256 tokens of three whole numbers: ties abound."""

    def __init__(self) -> None:
        super().__init__()
        grid = torch.cartesian_prod(*[torch.arange(-2.0, 3.0)] * 3)
        self.register_buffer("codebook", torch.cat([grid * 2, grid * 2]))  # each entry twice

    def forward(self, images: Tensor) -> Tensor:
        tokens = (images * 4).round().flatten(2).transpose(1, 2)
        rows, position = select_with_positions(tokens, self.codebook, 40)
        parts = [
            select_entries(tokens, self.codebook, 40),
            rows + position.unsqueeze(-1),
            select_with_duplicates(tokens, self.codebook, 100),
            nearest_entries(tokens, self.codebook),
        ]
        return torch.cat(parts, 1)


def images(count: int) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(count)) * 2 - 1


def test_selections_with_ties_are_the_same_in_onnx(tmp_path) -> None:
    module = Selections()
    write_onnx(exported_program(module, 16), tmp_path / "a.onnx")  # type: ignore[arg-type]
    run = open_onnx(tmp_path / "a.onnx")
    for count in (1, 2, 5):
        assert torch.equal(run(images(count)), module(images(count)))


def exported(kind: str, generator, folder):
    """The pipeline with a prompt of that kind, as torch has it and as ONNX and torch.export do."""
    merge_lora(generator.unet)
    embedder, text = generator.prompt_source.embedder, torch.rand(4, 12)
    source = build_prompt_source(kind, 12, embedder, hidden_dim=8, heads=2, text=text)
    generator.prompt_source = source
    pipeline = RestorationPipeline(generator)
    program = exported_program(pipeline, 16)
    write_onnx(program, folder / "a.onnx")
    write_torch_export(program, folder / "a.pt2")
    return pipeline, open_onnx(folder / "a.onnx"), open_torch_export(folder / "a.pt2")


def check_parity(kind: str, generator, folder) -> None:
    pipeline, onnx, program = exported(kind, generator, folder)
    for count in (1, 2, 5):
        with torch.no_grad():
            expected = pipeline(images(count))
        assert expected.std() > 0.1
        torch.testing.assert_close(onnx(images(count)), expected, atol=1e-3, rtol=0)
        torch.testing.assert_close(program(images(count)), expected, atol=1e-5, rtol=0)


@pytest.mark.slow  # of the paper's prompt the tests of the command do it quickly
@pytest.mark.parametrize("kind", KINDS)
def test_every_prompt(kind, tiny_generator, tmp_path) -> None:
    check_parity(kind, tiny_generator, tmp_path)


def test_a_missing_package_is_one_sentence(monkeypatch) -> None:
    from osdface.deploy import graphs

    find = graphs.importlib.util.find_spec
    monkeypatch.setattr(
        graphs.importlib.util,
        "find_spec",
        lambda name: None if name == "onnxscript" else find(name),
    )
    with pytest.raises(UserError, match=r"needs onnxscript, which the extra \[export\] brings"):
        check_packages()
