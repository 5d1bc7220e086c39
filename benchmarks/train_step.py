"""One training step of stage 2: ours against a plain loop, and what each option of ours does.

    python -m benchmarks.train_step
    python -m benchmarks.train_step --options
    python -m benchmarks.train_step --device cuda --size sd21 --precision bf16 --batches 2 8
    python -m benchmarks.train_step --device cuda --size sd21 --precision bf16 --options --batches 2

Random weights, the paper's losses (``variant=full``), 64 px at ``tiny``, at ``sd21`` 512 px and the
sizes of Stable Diffusion 2.1. The plain loop is benchmarks/plain_stage2.py. On a CPU times are the
process's CPU time, which other work on the machine disturbs less. The share of the peak is the
step's floating-point operations over those of a large matrix product, measured in the same run and
precision; operations are counted without checkpointing, so recomputation does not count.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from facexlib.recognition.arcface_arch import Backbone
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.plain_stage2 import PlainStage2
from benchmarks.timing import in_turns, matrix_peak, peak_of
from experiments.cli.compose import compose_words
from experiments.pipelines.build import open_base
from experiments.pipelines.stage2 import build_module
from lightning_modules.distillation import OneStepDistillationModule
from osdface.devices import device_name
from osdface.networks.vgg16 import VGG16Trunk

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed"}
SWITCH = "scale.stage2.efficiency."
OFF = {
    "checkpoint_unet": "false",
    "checkpoint_decoder": "false",
    "channels_last": "false",
    "compile": "[]",
    "attention": "sdpa",
    "frozen_dtype": "float32",
    "fused_adam": "false",
    "share_encodes": "false",
}
# Each against all switches at OFF: name of the row -> what is changed.
OPTIONS: dict[str, dict[str, str]] = {
    "plain attention": {"attention": "plain"},
    "shared encodes": {"share_encodes": "true"},
    "fused AdamW": {"fused_adam": "true"},
    "frozen weights as autocast has them": {"frozen_dtype": "auto"},
    "channels_last": {"channels_last": "true"},
    "checkpointing, UNet": {"checkpoint_unet": "true"},
    "checkpointing, decoder": {"checkpoint_decoder": "true"},
    "checkpointing, both": {"checkpoint_unet": "true", "checkpoint_decoder": "true"},
    "compiled UNet": {"compile": "[unet]"},
    "compiled VAE": {"compile": "[vae]"},
    "compiled discriminator": {"compile": "[discriminator]"},
    "compiled losses": {"compile": "[losses]"},
    "compiled, all": {"compile": "[unet,vae,discriminator,losses]"},
}


class Bench:
    """Builds modules of one size on one device, and steps of them."""

    def __init__(self, size: str, device: torch.device, precision: str, weights: Path) -> None:
        self.size, self.device, self.precision = size, device, precision
        self.weights = weights
        torch.manual_seed(0)
        if size == "sd21":  # files of the published sizes; nothing here is downloaded
            torch.save(VGG16Trunk().state_dict(), weights / "vgg16-397923af.pth")
            arcface = Backbone(50, 0.6, "ir_se").state_dict()
            torch.save(arcface, weights / "recognition_arcface_ir_se50.pth")

    def module(self, **switches: str) -> OneStepDistillationModule:
        """Returns a module with random weights and these words of ``efficiency``."""
        words = {"experiment": "osdface", "scale": self.size, "base.random": "true"}
        words |= {"vre.random": "true", "weights_dir": str(self.weights)}
        words |= {"trainer.precision": PRECISIONS[self.precision], "scale.stage2.clip": "1.0"}
        words |= {"scale.stage2.perceptual_metric": "tiny", "scale.stage2.warmup_steps": "0"}
        words |= {"scale.stage2.identity_metric": "tiny_b"}
        words |= {SWITCH + name: word for name, word in switches.items()}
        cfg, _ = compose_words(words)
        return build_module(cfg, open_base(cfg)).to(self.device).train()

    def batch(self, count: int) -> dict[str, Any]:
        """Returns ``count`` random pairs."""
        side = {"tiny": 64, "small": 128, "sd21": 512}[self.size]
        source = torch.Generator().manual_seed(0)
        hq, lq = (torch.rand(count, 3, side, side, generator=source) * 2 - 1 for _ in range(2))
        keys = [str(number) for number in range(count)]
        return {"hq": hq.to(self.device), "lq": lq.to(self.device), "key": keys}

    def context(self) -> AbstractContextManager:
        """Returns autocast as Lightning sets it."""
        enabled = self.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def own(self, batch: dict[str, Any], **switches: str) -> Callable[[], Any]:
        """Returns our step: the module's own, without a Trainer around it."""
        module = self.module(**switches)
        drive(module)

        def step() -> None:
            with self.context():
                module.training_step(batch, 0)

        return step

    def plain(self, batch: dict[str, Any]) -> Callable[[], Any]:
        """Returns the plain loop's step."""
        module = self.module(**OFF)
        plain = PlainStage2(module)
        shape = module.generator.codec.latent_shape(batch["hq"])
        count = len(batch["key"])

        def step() -> None:
            noise = torch.randn(count, *shape, device=self.device)
            timestep = torch.randint(1000, (count,), device=self.device)
            with self.context():
                plain.step(batch, noise, timestep)

        return step

    def operations(self, **switches: str) -> int:
        """Counts the floating-point operations of our step on one image."""
        step = self.own(self.batch(1), **switches)
        with FlopCounterMode(display=False) as counter:
            step()
        return counter.get_total_flops()


def drive(module: OneStepDistillationModule) -> None:
    """Lets ``training_step`` run without a Trainer, whose loop is not what is measured."""
    optimizers = module.configure_optimizers()
    module.trainer = SimpleNamespace(optimizers=optimizers, datamodule=None, should_stop=False)
    module.optimizers = lambda: optimizers
    module.manual_backward = lambda loss: loss.backward()


def measure(ways: dict[str, Callable[[], Callable]], bench: Bench, runs: int, together: bool):
    """Returns the median seconds of each way and the memory its step takes at its peak.

    ``together`` keeps all ways in memory and lets them take turns, which a busy machine needs; else
    each has the device to itself.
    """
    times, memory = {}, {}
    clock = time.process_time if bench.device.type == "cpu" else time.perf_counter
    if together:
        steps = {name: build() for name, build in ways.items()}
        times = in_turns(steps, bench.device, runs, 2, clock)
        memory = {name: peak_of(step, bench.device) for name, step in steps.items()}
        return times, memory
    for name, build in ways.items():
        step = build()
        times |= in_turns({name: step}, bench.device, runs, 2, clock)
        memory[name] = peak_of(step, bench.device)
        del step
        gc.collect()
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
    return times, memory


def against_plain(bench: Bench, counts: list[int], runs: int, together: bool) -> None:
    """Prints ours, as the scale's file has it, beside the plain loop."""
    peak = matrix_peak(bench.device, DTYPES[bench.precision])
    operations = bench.operations(checkpoint_unet="false", checkpoint_decoder="false")
    print(f"matrix product {peak / 1e12:.2f} TFLOP/s; {operations / 1e12:.2f} TFLOP an image\n")
    print("| batch | way | ms a step | images/s | ratio | share of the peak | memory, MiB |")
    print("|---|---|---|---|---|---|---|")
    for count in counts:
        batch = bench.batch(count)
        ways = {"plain": partial(bench.plain, batch), "ours": partial(bench.own, batch)}
        times, memory = measure(ways, bench, runs, together)
        for name, took in times.items():
            row = f"{took * 1e3:.0f} | {count / took:.2f} | {times['plain'] / took:.2f}"
            share = operations * count / took / peak
            print(f"| {count} | {name} | {row} | {share:.0%} | {memory[name]:.0f} |", flush=True)


def options(bench: Bench, counts: list[int], runs: int, together: bool, wanted: list[str]) -> None:
    """Prints each option's effect against a step with all of them off."""
    print("\n| batch | option | ms a step | ratio | memory, MiB |\n|---|---|---|---|---|")
    for count in counts:
        batch = bench.batch(count)
        for name in wanted:
            ways = {
                "off": partial(bench.own, batch, **OFF),
                name: partial(bench.own, batch, **(OFF | OPTIONS[name])),
            }
            times, memory = measure(ways, bench, runs, together)
            for way in ways if name == wanted[0] else (name,):
                row = f"{times[way] * 1e3:.0f} | {times['off'] / times[way]:.2f}"
                print(f"| {count} | {way} | {row} | {memory[way]:.0f} |", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--size", choices=("tiny", "small", "sd21"), default="tiny")
    parser.add_argument("--precision", choices=DTYPES, default="fp32", help="(default fp32)")
    parser.add_argument("--batches", type=int, nargs="+", default=[8], help="images a step")
    parser.add_argument("--options", action="store_true", help="each option instead")
    parser.add_argument("--only", nargs="+", choices=OPTIONS, help="these options")
    parser.add_argument("--runs", type=int, default=5, help="timed steps of each (default 5)")
    arguments = parser.parse_args(argv)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {device}: torch finds no GPU here")
    print(f"{device_name(device)}; torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"size {arguments.size}, {arguments.precision}, {device}, {arguments.runs} runs")
    together = arguments.size != "sd21"
    with tempfile.TemporaryDirectory() as weights:
        bench = Bench(arguments.size, device, arguments.precision, Path(weights))
        if arguments.options or arguments.only:
            wanted = arguments.only or list(OPTIONS)
            options(bench, arguments.batches, arguments.runs, together, wanted)
        else:
            against_plain(bench, arguments.batches, arguments.runs, together)


if __name__ == "__main__":
    main()
