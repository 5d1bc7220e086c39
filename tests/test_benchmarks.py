"""The benchmarks run, and what they compare gives the same."""

import copy

import pytest
import torch

from benchmarks import embedder, evaluate, restore, stage1_step, train_step
from benchmarks.plain_stage2 import PlainStage2
from benchmarks.released_way import ReleasedWay
from benchmarks.restore_parts import counted_gmacs
from benchmarks.restore_sizes import build_generator, with_lora
from lightning_modules.stepped import keyed_generator
from osdface.losses import WeightedLosses
from osdface.networks.generator import OneStepGenerator
from osdface.networks.lora import merge_lora
from osdface.networks.selection import select_entries
from osdface.networks.tiny_perceptual import TinyPerceptualNetwork
from osdface.restorer import Restorer
from tests.lightning_modules.small import build_module, make_batch, step_alone


def test_the_loop_is_the_same_selection() -> None:
    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    tokens = torch.randn(3, 50, 6, generator=generator, dtype=torch.float64)
    for count in (5, 77):
        found = embedder.looped_selection(tokens, codebook, count)
        torch.testing.assert_close(found, select_entries(tokens, codebook, count))


def test_prints_a_row_a_batch(monkeypatch, capsys) -> None:
    monkeypatch.setattr(embedder, "TOKENS", 20)
    embedder.main(["--runs", "1", "--batches", "1", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert "threads" in lines[0] and "device cpu" in lines[1]
    assert [line.split(" | ")[0] for line in lines[-2:]] == ["| 1", "| 2"]
    assert all("100.00%" in line for line in lines[-2:])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_said(capsys) -> None:
    with pytest.raises(SystemExit):
        embedder.main(["--device", "cuda"])
    assert "no GPU" in capsys.readouterr().err


def test_stage_1_step_prints_its_row(capsys) -> None:
    words = ["--resolution", "32", "--batch", "1", "--runs", "1", "--eager-only"]
    stage1_step.main(words)
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| eager | ") and " | 1.00 | " in row
    share = float(row.split(" | ")[4].rstrip("%"))
    assert 0 < share <= 120  # of a peak measured beside it


@pytest.fixture(scope="module")
def sized() -> tuple[OneStepGenerator, int]:
    torch.manual_seed(0)
    generator, resolution = build_generator("tiny")
    with_lora(generator)
    return generator, resolution


def test_the_released_way_restores_the_same(sized) -> None:
    generator, resolution = sized
    image = restore.pictures(resolution, 1)[0]
    cpu = torch.device("cpu")
    unmerged = ReleasedWay(generator, cpu, torch.float32, sample=False)(image)
    restorer = Restorer(generator, resolution, "cpu")
    merge_lora(generator.unet)
    assert restore.difference(restorer, ReleasedWay(generator, cpu, torch.float32), image) <= 1
    assert abs(unmerged.astype(int) - restorer.restore(image).image).max() <= 1
    assert restorer.restore(image).image.std() > 1  # not one gray


def test_the_work_at_the_papers_size_is_the_published_one() -> None:
    gmacs = counted_gmacs("sd21")
    expected = {"VAE encode": 558.3, "prompt, UNet, x0": 402.1, "VAE decode": 1257.3}
    for name, value in expected.items():
        assert gmacs[name] == pytest.approx(value, abs=0.1)
    assert sum(gmacs.values()) == pytest.approx(2317.3, abs=0.5)


def test_restore_prints_its_tables(capsys) -> None:
    restore.main(["--batches", "1", "2", "--runs", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert "random weights" in lines[1] and "LoRA merged" in lines[1]
    rows = [line for line in lines if line.startswith(("| 1 |", "| 2 |"))]
    for row in rows:
        ours, released, ratio = map(float, row.split(" | ")[1:4])
        assert ratio == pytest.approx(ours / released, rel=0.05)
    parts = [line.split(" | ")[0] for line in lines[-6:]]
    assert len(rows) == 2 and parts[0] == "| VRE, entries" and parts[-1] == "| all"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--device", "cuda"], "no GPU"),
        (["--runs", "0"], "at least 1"),
        (["--cuda-graphs"], "need a CUDA device"),
        (["--device", "cupa"], "no device cupa"),
    ],
)
def test_restore_refuses_by_a_sentence(words, told, capsys) -> None:
    with pytest.raises(SystemExit) as error:
        restore.main(words)
    assert told in capsys.readouterr().err + str(error.value)


def test_the_plain_loop_does_the_same_step() -> None:
    torch.manual_seed(0)
    ours = build_module(gan=0.25, clip=1.0)
    trunk = TinyPerceptualNetwork((4, 4)).requires_grad_(False).eval()
    ours.losses = WeightedLosses({"mse": 2.0, "ea_dists": 0.5}, trunk=trunk)
    ours.double()
    same = copy.deepcopy(ours)
    batch = make_batch(0)
    batch |= {name: batch[name].double() for name in ("lq", "hq")}
    sources = [keyed_generator(0, 0, key) for key in batch["key"]]
    timestep = torch.cat([torch.randint(1000, (1,), generator=source) for source in sources])
    noise = torch.stack([torch.randn(4, 8, 8, generator=source) for source in sources]).double()
    terms = PlainStage2(same).step(batch, noise, timestep)
    step_alone(ours, batch)
    assert terms.pop("discriminator") == pytest.approx(ours.logged["loss/discriminator"])
    for name, value in terms.items():
        assert value == pytest.approx(ours.logged[f"loss/{name}/raw"], rel=1e-5), name
    for (name, p), q in zip(ours.named_parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(p, q, atol=1e-5, rtol=0, msg=name)


@pytest.mark.slow
def test_stage_2_step_prints_its_tables(capsys) -> None:
    train_step.main(["--runs", "1", "--batches", "1"])
    rows = capsys.readouterr().out.splitlines()[-2:]
    assert [row.split(" | ")[1] for row in rows] == ["plain", "ours"]
    train_step.main(["--runs", "1", "--batches", "1", "--only", "checkpointing, both"])
    off, both = (row.split(" | ") for row in capsys.readouterr().out.splitlines()[-2:])
    assert (off[1], off[3]) == ("off", "1.00") and both[1] == "checkpointing, both"
    assert float(both[4].rstrip(" |")) < float(off[4].rstrip(" |"))


@pytest.mark.slow
def test_evaluate_gives_the_libraries_figures(capsys) -> None:
    evaluate.main(["--images", "2", "--batch", "1", "--figures", "psnr,ssim,lpips,dists,deg"])
    lines = capsys.readouterr().out.splitlines()
    library, ours = (
        list(map(float, row.strip("| ").split(" | ")[3:]))
        for name in ("| library", "| cold")
        for row in (next(line for line in lines if line.startswith(name)),)
    )
    assert ours[:4] == pytest.approx(library[:4], abs=2e-6)
    # OpenCV's gray is rounded to bytes before and after it is made smaller.
    assert ours[4] == pytest.approx(library[4], rel=0.05)
    assert lines[-1].startswith("ratio for 1000 images: cold ")
