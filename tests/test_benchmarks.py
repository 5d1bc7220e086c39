"""The benchmarks run, and what they compare gives the same."""

import pytest
import torch

from benchmarks import embedder, stage1_step
from osdface.networks.selection import select_entries


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
