"""One association step gives the same loss and gradients on any number of processes (float64)."""

import datetime
from pathlib import Path

import pytest
import torch
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from lightning_modules.dictionary import DictionarySettings, DictionaryTraining
from osdface.losses.association import AssociationLoss
from osdface.networks.autoencoder import VQAutoencoder, VQConfig
from osdface.networks.discriminators import PatchDiscriminator

BATCH = 8
DOMAINS = ("hq", "lq")


class SquaredError(nn.Module):
    """Stands for the perceptual term, which is a mean over the batch too."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (x - y).square().mean()


class Step(nn.Module):
    """The generator's loss of DictionaryAssociationModule, with the discriminators at work."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        settings = DictionarySettings(discriminator_start=0)
        self.parts = nn.ModuleDict(
            {
                domain: DictionaryTraining(
                    VQAutoencoder(VQConfig((8, 8), 1, 16, 8, 4)),
                    PatchDiscriminator(filters=8, layers=1, norm="group").requires_grad_(False),
                    SquaredError(),
                    settings,
                )
                for domain in DOMAINS
            }
        )
        self.association = AssociationLoss(gather=True)

    def forward(self, images: dict[str, torch.Tensor]) -> torch.Tensor:
        terms, tokens = [], []
        for domain, part in self.parts.items():
            passed = part.autoencoder(images[domain])
            terms += part.generator_terms(images[domain], passed, step=0).values()
            tokens.append(passed.tokens.flatten(2).transpose(1, 2))
        return torch.stack([*terms, self.association(*tokens)]).sum()


def images() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (BATCH, 3, 16, 16)
    return {d: torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1 for d in DOMAINS}


def one_process() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    step = Step().double()
    loss = step(images())
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in step.named_parameters() if p.requires_grad}


def work(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=world_size,
        timeout=datetime.timedelta(seconds=90),
    )
    module = Step().double()
    own = {d: x.chunk(world_size)[rank] for d, x in images().items()}
    parallel = DistributedDataParallel(module)  # its reducer must outlive the backward pass
    loss = parallel(own)
    loss.backward()
    mean = loss.detach().clone()
    distributed.all_reduce(mean)
    gradients = {n: p.grad for n, p in module.named_parameters() if p.requires_grad}
    torch.save((mean / world_size, gradients), Path(folder) / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.parametrize("world_size", [2, 4])
def test_loss_and_gradients_equal_those_of_one_process(world_size, tmp_path) -> None:
    wanted_loss, wanted = one_process()
    multiprocessing.spawn(work, (world_size, str(tmp_path)), nprocs=world_size)
    for rank in range(world_size):
        loss, gradients = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(loss, wanted_loss, atol=1e-6, rtol=1e-6)
        assert gradients.keys() == wanted.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, wanted[name], atol=1e-6, rtol=1e-6)
    assert any(name.endswith("log_scale") for name in wanted)
    assert all(gradient.abs().sum() > 0 for gradient in wanted.values() if gradient.numel() > 1)
