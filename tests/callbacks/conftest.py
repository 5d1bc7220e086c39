"""A toy of the project's LightningModules: two optimizers, an own step counter, same figures."""

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset


class Images(Dataset):
    """Seeded 8x8 images in [-1, 1] with their degraded form."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        hq = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(index)) * 2 - 1
        return {"hq": hq, "lq": hq * 0.5, "key": f"face-{index}"}


class Toy(LightningModule):
    """Learns to undo a factor; ``fail_at`` raises in that step, ``fail_when`` elsewhere."""

    def __init__(self, max_steps=12, fail_at=None, fail_when=None, accumulate=1, perceptual=None):
        super().__init__()
        self.automatic_optimization = False
        self.generator = torch.nn.Conv2d(3, 3, 1)
        self.discriminator = torch.nn.Conv2d(3, 1, 1)
        self.max_steps, self.fail_at, self.fail_when = max_steps, fail_at, fail_when
        self.accumulate = accumulate
        self.perceptual = perceptual or {}
        self.generator_step = 0
        self.logged, self.validation_metrics, self.sample_images = {}, {}, {}
        self.sample_keys = []

    def configure_optimizers(self):
        parts = (self.generator, self.discriminator)
        return [torch.optim.SGD(part.parameters(), lr=0.05) for part in parts]

    def on_fit_start(self):
        if self.fail_when == "start":
            raise RuntimeError("no memory\nsecond line")

    def training_step(self, batch, batch_idx):
        if self.fail_at is not None and self.generator_step + 1 == self.fail_at:
            raise RuntimeError("loss is not finite")
        for optimizer, part in zip(
            self.optimizers(), (self.generator, self.discriminator), strict=True
        ):
            loss = (part(batch["lq"]) - batch["hq"].mean(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        if (batch_idx + 1) % self.accumulate == 0:
            self.generator_step += 1
        self.logged = {"loss/mse/raw": loss.item(), "loss/total": loss.item()}
        if self.generator_step >= 6:
            self.logged["discriminator/accuracy"] = 0.5
        if self.generator_step >= self.max_steps:
            self.trainer.should_stop = True

    def validation_step(self, batch, batch_idx):
        if self.fail_when == "validation" and self.generator_step > 0:
            raise RuntimeError("validation broke")
        self.sample_keys = batch["key"]
        restored = self.generator(batch["lq"]).clamp(-1, 1)
        self.sample_images = {"hq": batch["hq"], "lq": batch["lq"], "restored": restored}

    def on_validation_epoch_end(self):
        self.seen_weight = self.generator.weight.detach().clone()
        value = self.perceptual.get(self.generator_step, 1.0 / (1 + self.generator_step))
        self.validation_metrics = {"psnr": 20.0 + self.generator_step, "perceptual": value}

    def on_save_checkpoint(self, checkpoint):
        checkpoint["generator_step"] = self.generator_step

    def on_load_checkpoint(self, checkpoint):
        self.generator_step = checkpoint["generator_step"]


def fit(module, *callbacks, val_every=4, ckpt_path=None, **trainer_options):
    """Trains the toy with batches of two, validating every ``val_every`` batches."""
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=any(hasattr(c, "save_last") for c in callbacks),
        enable_progress_bar=any(hasattr(c, "is_terminal") for c in callbacks),
        check_val_every_n_epoch=None,
        val_check_interval=val_every,
        callbacks=list(callbacks),
        **trainer_options,
    )
    images = DataLoader(Images(), batch_size=2)
    trainer.fit(
        module, images, images, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None
    )
    return trainer


@pytest.fixture
def toy():
    """The toy's class and the function that trains it."""
    torch.manual_seed(0)
    return Toy, fit
