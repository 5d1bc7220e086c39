"""Stage 2 on several processes: ways of running two optimizers, and throughput.

    python -m benchmarks.ddp
    python -m benchmarks.ddp --processes 2 --batch 8 --runs 9

Real processes over gloo on this machine's cores, the networks of a scale with random weights, the
same batch size on each. The ways take turns in one run; a time is the median over steps of the
slowest rank's. CPU time leaves waiting out, and other programs disturb it less.
Bytes are what a rank gives to collectives in a step; of gradients a ring then moves
2 (n - 1) / n as many. All ways must have the same gradients, or the benchmark fails.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from benchmarks.ddp_ways import OURS, REFERENCE, WAYS, counted
from benchmarks.train_step import Bench
from lightning_modules.ranks import share_state
from osdface.devices import device_name


def _timed(bench: Bench, names: list[str], batch: dict[str, Any], runs: int) -> dict[str, Any]:
    """Returns way -> (seconds of each step on this rank, CPU seconds of each)."""
    steps = {name: WAYS[name](bench.module()) for name in names}
    found: dict[str, Any] = {name: ([], []) for name in names}
    for number in range(runs + 2):
        for name, step in steps.items():
            distributed.barrier()
            wall, cpu = time.perf_counter(), time.process_time()
            step(batch)
            took = (time.perf_counter() - wall, time.process_time() - cpu)
            for kept, value in zip(found[name], took, strict=True):
                if number >= 2:  # the first two warm up
                    kept.append(value)
    return found


def _work(rank: int, world: int, folder: str, arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    store = f"file://{folder}/store{world}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    bench = Bench(arguments.size, torch.device("cpu"), "fp32", Path(folder))
    torch.manual_seed(rank)
    batch = bench.batch(arguments.batch)
    batch["hq"], batch["lq"] = (torch.rand_like(batch[name]) * 2 - 1 for name in ("hq", "lq"))
    batch["key"] = [f"{rank}/{key}" for key in batch["key"]]
    names = list(WAYS) if world > 1 else [OURS]
    counts, norms = {}, {}
    for name in names:
        torch.manual_seed(0)
        module = bench.module()
        share_state(module)
        counts[name], norms[name] = counted(WAYS[name], module, batch)
    times = _timed(bench, names, batch, arguments.runs)
    everyone: list[Any] = [None] * world
    distributed.all_gather_object(everyone, times)
    if rank == 0:
        _check(norms)
        torch.save({"bytes": counts, "times": everyone}, f"{folder}/{world}.pt")
    distributed.destroy_process_group()


def _check(norms: dict[str, dict[str, float]]) -> None:
    wanted = norms[OURS]
    for name, found in norms.items():
        for network, value in found.items():
            if name != "nothing exchanged" and abs(value - wanted[network]) > 1e-3 * value:
                raise RuntimeError(
                    f"{name}: {network} is {value}, {wanted[network]} where ours is used."
                )


def rows(world: int, batch: int, found: dict[str, Any]) -> list[str]:
    """Returns the table's lines of a world size."""
    ranks = found["times"]
    walls, cpus = {}, {}
    for name in ranks[0]:
        steps = zip(*(rank[name][0] for rank in ranks), strict=True)
        walls[name] = statistics.median(max(step) for step in steps)
        cpus[name] = statistics.fmean(statistics.median(rank[name][1]) for rank in ranks)
    reference = walls.get(REFERENCE)
    return [
        f"| {world} | {name} | {walls[name] * 1e3:.0f} | {cpus[name] * 1e3:.0f} | "
        f"{reference / walls[name] if reference else 1:.2f} | {found['bytes'][name] / 1e3:.0f} | "
        f"{world * batch / walls[name]:.2f} |"
        for name in walls
    ]


def main(argv: list[str] | None = None) -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=("tiny", "small"), default="tiny")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch", type=int, default=2, help="images a process (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="of each process (default 1)")
    parser.add_argument("--runs", type=int, default=7, help="timed steps of each (default 7)")
    arguments = parser.parse_args(argv)
    device = torch.device("cpu")
    print(
        f"{device_name(device)}; torch {torch.__version__}, {arguments.threads} threads a process"
    )
    print(f"size {arguments.size}, {arguments.batch} images a process, {arguments.runs} runs\n")
    print("| processes | way | ms a step | CPU, ms | ratio | kB a step | images/s |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for world in arguments.processes:
            work = (world, folder, arguments)
            torch.multiprocessing.start_processes(_work, work, nprocs=world, start_method="spawn")
            found = torch.load(f"{folder}/{world}.pt", weights_only=True)
            print("\n".join(rows(world, arguments.batch, found)), flush=True)


if __name__ == "__main__":
    main()
