"""One training step of a stage-1 dictionary: eager against compiled.

    python -m benchmarks.stage1_step
    python -m benchmarks.stage1_step --device cuda --resolution 512 --batch 4 --precision bf16

The paper's sizes with random weights: autoencoder, LPIPS on VGG16, PatchGAN, adaptive weight, both
Adam updates; the discriminator has started. The share of the peak is the step's floating-point
operations, counted (nothing is recomputed), over those of a large matrix product measured in the
same run and precision.
"""

import argparse
import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import in_turns, matrix_peak, peak_memory
from lightning_modules.dictionary import DictionarySettings, DictionaryTraining, stage1_adam
from osdface.devices import device_name
from osdface.losses import build_loss
from osdface.networks.autoencoder import VQAutoencoder, VQConfig
from osdface.networks.discriminators import PatchDiscriminator
from osdface.networks.vgg16 import VGG16Trunk

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def build_step(images: torch.Tensor, compiled: bool, precision: str) -> Callable[[], Any]:
    """Returns a function that does one whole step on ``images`` (B, 3, H, W) in [-1, 1]."""
    torch.manual_seed(0)
    perceptual = build_loss("lpips", trunk=VGG16Trunk(pooling="max"))
    discriminator = PatchDiscriminator(filters=64, layers=3, norm="group")
    settings = DictionarySettings(discriminator_start=0)
    training = DictionaryTraining(VQAutoencoder(VQConfig()), discriminator, perceptual, settings)
    training = training.to(images.device)
    optimizers = [
        stage1_adam(part.parameters(), 1.44e-4)
        for part in (training.autoencoder, training.discriminator)
    ]
    forward = torch.compile(training.autoencoder) if compiled else training.autoencoder

    def context() -> contextlib.AbstractContextManager:
        enabled = precision != "fp32"
        return torch.autocast(images.device.type, DTYPES["bf16"], enabled=enabled)

    def step() -> None:
        with context():
            passed = forward(images)
            terms = training.generator_terms(images, passed, step=0)
        torch.stack([term.float() for term in terms.values()]).sum().backward()
        optimizers[0].step()
        for optimizer in optimizers:  # the generator's loss reaches the discriminator too
            optimizer.zero_grad(set_to_none=True)
        with context():
            loss = training.discriminator_term(images, passed)
        loss.backward()
        optimizers[1].step()
        optimizers[1].zero_grad(set_to_none=True)

    return step


def main(argv: list[str] | None = None) -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--resolution", type=int, default=128, help="pixels a side (default 128)")
    parser.add_argument("--batch", type=int, default=4, help="images a step (default 4)")
    parser.add_argument("--precision", choices=DTYPES, default="fp32", help="(default fp32)")
    parser.add_argument("--eager-only", action="store_true", help="do not compile")
    parser.add_argument("--runs", type=int, default=5, help="timed steps of each (default 5)")
    arguments = parser.parse_args(argv)
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(f"--device {device}: torch finds no GPU here")
    shape = (arguments.batch, 3, arguments.resolution, arguments.resolution)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device) * 2 - 1

    threads = torch.get_num_threads()
    print(f"{device_name(device)}; torch {torch.__version__}, {threads} threads, {device}")
    peak = matrix_peak(device, DTYPES[arguments.precision])
    print(f"batch {shape}, {arguments.precision}; matrix product {peak / 1e12:.2f} TFLOP/s\n")
    eager = build_step(images, False, arguments.precision)
    with FlopCounterMode(display=False) as counter:
        eager()
    operations = counter.get_total_flops()
    print("| way | ms a step | images/s | ratio | share of the peak | peak memory |")
    print("|---|---|---|---|---|---|")
    times = {}
    for name in ("eager",) if arguments.eager_only else ("eager", "compiled"):
        step = eager if name == "eager" else build_step(images, True, arguments.precision)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        times[name] = in_turns({name: step}, device, arguments.runs, warm_up=2)[name]
        took, share = times[name], operations / times[name] / peak
        row = f"{took * 1e3:.0f} | {len(images) / took:.2f} | {times['eager'] / took:.2f}"
        print(f"| {name} | {row} | {share:.0%} | {peak_memory(device)} |", flush=True)


if __name__ == "__main__":
    main()
