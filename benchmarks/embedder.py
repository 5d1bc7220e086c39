"""Selection of the VRE prompt: vectorised, against a loop over tokens.

    python -m benchmarks.embedder
    python -m benchmarks.embedder --device cuda

The loop is a plain re-statement of the selection: token by token, with one synchronisation of the
host each, image by image. Both are timed in one process and in turns, on the same random tokens,
and must give the same entries. Only their ratio in one run is worth comparing.
"""

import argparse

import torch
from torch import Tensor

from benchmarks.timing import in_turns
from osdface.devices import device_name
from osdface.networks.selection import select_entries

BATCHES = (1, 8, 32)
TOKENS, ENTRIES, DIM, COUNT = 256, 1024, 512, 77  # the paper's sizes (R)


def looped_selection(tokens: Tensor, codebook: Tensor, count: int = COUNT) -> Tensor:
    """Selects as :func:`select_entries` does, a token at a time.

    Args:
        tokens: (B, N, C).
        codebook: (K, C).
        count: Rows of the prompt.

    Returns:
        (B, count, C).
    """
    prompts = []
    for image in tokens:
        best: dict[int, float] = {}
        for token in image:
            distance, entry = (token - codebook).square().sum(1).min(0)
            number, value = int(entry), float(distance)  # waits for the device
            best[number] = min(value, best.get(number, value))
        kept = sorted(best, key=best.__getitem__)[:count]
        rows = codebook[kept]
        prompts.append(torch.nn.functional.pad(rows, (0, 0, 0, count - len(kept))))
    return torch.stack(prompts)


def agreement(tokens: Tensor, codebook: Tensor) -> float:
    """Returns the share of rows that both give; entries at near-equal distances may swap."""
    pair = select_entries(tokens, codebook), looped_selection(tokens, codebook)
    return float(pair[0].eq(pair[1]).all(-1).float().mean())


def measure(batch: int, device: torch.device, runs: int) -> tuple[float, float, float]:
    """Returns the median seconds of both ways and the share of rows on which they agree."""
    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(ENTRIES, DIM, generator=generator).to(device)
    tokens = torch.randn(batch, TOKENS, DIM, generator=generator).to(device)
    same = agreement(tokens, codebook)  # also warms both up
    ways = {
        "vectorised": lambda: select_entries(tokens, codebook, COUNT),
        "loop": lambda: looped_selection(tokens, codebook, COUNT),
    }
    times = in_turns(ways, device, runs, warm_up=0)
    return times["vectorised"], times["loop"], same


def main(argv: list[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="images a batch")
    arguments = parser.parse_args(argv)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {device}: torch finds no GPU here")
    print(f"{device_name(device)}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"device {device}, float32, {TOKENS} tokens x {ENTRIES} entries x {DIM}, {COUNT} kept")
    print(f"median of {arguments.runs} runs, in turns\n")
    print("| batch | vectorised, ms | loop, ms | ratio | rows alike |")
    print("|---|---|---|---|---|")
    for batch in arguments.batches:
        fast, slow, same = measure(batch, device, arguments.runs)
        row = f"{fast * 1e3:.2f} | {slow * 1e3:.1f} | {slow / fast:.0f} | {same:.2%}"
        print(f"| {batch} | {row} |", flush=True)


if __name__ == "__main__":
    main()
