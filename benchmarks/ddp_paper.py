"""What data parallel training exchanges, and how well it should scale, on paper.

    python -m benchmarks.ddp_paper

Counts the trained parameters of every scale on torch's meta device, so no weights are needed, and
puts their bytes into the time of a ring all-reduce that does not overlap with the computation:

    t = 2 (n - 1) / n * bytes / bandwidth + 2 (n - 1) * latency,  efficiency = T / (T + t)

with n GPUs and a step of T seconds on one. Bandwidths are nominal ones of one direction, halved.
Nothing here is measured.
"""

import torch

from experiments.cli.compose import compose_words
from experiments.counting.main import random_generator
from experiments.pipelines.build import vq_config
from osdface.networks.autoencoder import VQAutoencoder
from osdface.networks.discriminators import PatchDiscriminator, build_latent_discriminator
from osdface.networks.lora import DEFAULT_TARGETS, add_lora

# One direction of one link, bytes a second, and seconds of one hop. The slowest link of a ring
# counts: inside a machine NVLink 4, between machines what one machine's ring has.
LINKS = {
    "NVLink 4, 450 GB/s": (450e9, 5e-6),
    "PCIe 4 x16, 32 GB/s": (32e9, 10e-6),
    "InfiniBand 400 Gbit/s": (50e9, 10e-6),
    "InfiniBand 100 Gbit/s": (12.5e9, 10e-6),
    "Ethernet 25 Gbit/s": (3.125e9, 30e-6),
}
USED = 0.5
STEPS = (0.2, 0.5, 1.0)
RINGS = ((8, "NVLink 4, 450 GB/s"), (8, "PCIe 4 x16, 32 GB/s"), *((64, n) for n in list(LINKS)[2:]))
BYTES = 4  # gradients are float32, as the trained parameters are, with bf16-mixed too


def _trained(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters() if p.requires_grad)


def trained_parameters(scale: str) -> dict[str, int]:
    """Returns how many parameters each network of a scale trains, and how many the UNet has."""
    cfg, _ = compose_words({"scale": scale})
    chosen, first = cfg.scale.stage2, cfg.scale.stage1
    with torch.device("meta"):
        generator = random_generator(cfg, "meta")
        frozen = sum(p.numel() for p in generator.unet.parameters())
        discriminator = build_latent_discriminator(
            chosen.discriminator,
            generator.unet,
            chosen.lora_rank,
            chosen.lora_alpha,
            chosen.discriminator_head,
        )
        targets = list(chosen.lora_targets or DEFAULT_TARGETS)
        add_lora(generator.unet, chosen.lora_rank, chosen.lora_alpha, targets)
        patch = PatchDiscriminator(
            filters=first.discriminator_filters, layers=first.discriminator_layers
        )
        return {
            "LoRA": _trained(generator.unet),
            "prompt convolutions": _trained(generator.prompt_source),
            "latent discriminator": _trained(discriminator),
            "stage 1: one autoencoder": _trained(VQAutoencoder(vq_config(cfg))),
            "stage 1: one PatchGAN": _trained(patch),
            "UNet, were all of it trained": frozen,
        }


def ring_seconds(count: int, gpus: int, link: str) -> float:
    """Returns how long the gradients of ``count`` parameters take."""
    bandwidth, latency = LINKS[link]
    moved = 2 * (gpus - 1) / gpus * count * BYTES
    return moved / (USED * bandwidth) + 2 * (gpus - 1) * latency


def _efficiencies(title: str, count: int) -> None:
    print(f"\n{title}: {count * BYTES / 1e6:.1f} MB of gradients a step\n")
    print(
        "| GPUs | slowest link | ms exchanged | " + " | ".join(f"T = {t} s" for t in STEPS) + " |"
    )
    print("|---|---|---|" + "---|" * len(STEPS))
    for gpus, link in RINGS:
        took = ring_seconds(count, gpus, link)
        cells = " | ".join(f"{step / (step + took):.1%}" for step in STEPS)
        print(f"| {gpus} | {link} | {took * 1e3:.1f} | {cells} |")


def main() -> None:
    """Counts and prints the tables."""
    counts = {scale: trained_parameters(scale) for scale in ("tiny", "small", "sd21")}
    print("| trained | " + " | ".join(f"{s}: parameters | kB a step" for s in counts) + " |")
    print("|---|" + "---|---|" * len(counts))
    for name in counts["tiny"]:
        numbers = [own[name] for own in counts.values()]
        print(
            f"| {name} | " + " | ".join(f"{n:,} | {n * BYTES / 1e3:,.0f}" for n in numbers) + " |"
        )
    full = counts["sd21"]
    second = full["LoRA"] + full["prompt convolutions"] + full["latent discriminator"]
    _efficiencies("Stage 2, sd21", second)
    first = 2 * (full["stage 1: one autoencoder"] + full["stage 1: one PatchGAN"])
    _efficiencies("Stage 1's association, sd21", first)
    _efficiencies("Every weight of the UNet, sd21", full["UNet, were all of it trained"])
    for title, count in (("stage 2", second), ("stage 1's association", first)):
        # Gradients, two moments of Adam, the parameters themselves.
        print(f"\n{title}: {4 * count * BYTES / 2**30:.2f} GiB on every GPU", end="")
        print(" of trained weights, gradients and Adam's moments")


if __name__ == "__main__":
    main()
