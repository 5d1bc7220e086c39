"""Latents in memory are those of the images that would have been read."""

import torch

from datamodules.dataset import FaceDataset
from datamodules.faces import FaceDataModule
from datamodules.latents import LatentDataset
from datamodules.samplers import Draw


def encode(images: torch.Tensor) -> torch.Tensor:
    """Something that tells images and their mirror images apart."""
    return images[..., ::4, ::4] * torch.linspace(0.5, 1.5, images.shape[-1] // 4)


def module(root, **changes) -> FaceDataModule:
    found = {"kind": "folder", "root": str(root), "resolution": 16, "batch_size": 4, "val_count": 4}
    return FaceDataModule(**{**found, **changes})


def test_batches_are_the_encoded_images_in_every_epoch(folder) -> None:
    images, latents = module(folder), module(folder)
    latents.keep_latents(encode)
    count = 3 * images.sampler.batches_per_epoch
    pairs = zip(images.train_dataloader(), latents.train_dataloader(), range(count), strict=False)
    for batch, kept, _ in pairs:
        assert kept["key"] == batch["key"]
        assert "hq" not in kept and "lq" not in kept
        torch.testing.assert_close(kept["latent"], encode(batch["hq"]))
    validation = zip(images.val_dataloader(), latents.val_dataloader(), strict=True)
    for batch, kept in validation:
        torch.testing.assert_close(kept["latent"], encode(batch["hq"]))


def test_mirror_images_do_occur(folder) -> None:
    data = module(folder)
    faces: FaceDataset = data.train_set
    kept = LatentDataset(faces, encode)
    first = [kept[Draw(epoch, 0)]["latent"] for epoch in range(20)]
    assert len({tuple(latent.flatten().tolist()) for latent in first}) == 2


def test_every_image_is_encoded_once_and_once_mirrored(folder) -> None:
    data, seen = module(folder), []
    data.keep_latents(lambda images: (seen.append(len(images)), encode(images))[1])
    # The validation images are never mirrored.
    assert sum(seen) == 2 * len(data.train_set) + len(data.val_set)
