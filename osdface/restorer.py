"""The few lines most people want: ``Restorer.from_pretrained(PATH).restore(images)``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from osdface.checkpoints.opening import open_restorer
from osdface.deploy.pipeline import RestorationPipeline
from osdface.deploy.running import Run, build_run
from osdface.devices import exact_inference, usable_device
from osdface.errors import UserError
from osdface.image_inputs import as_inputs, fit, unfit
from osdface.networks.generator import OneStepGenerator


@dataclass
class RestorerOutput:
    """What :meth:`Restorer.restore` gives.

    Attributes:
        images: Restored images, of the type that came in; of a (B, 3, H, W) tensor another.
        tokens: The VRE's entries (B, 77, C), float32 on the CPU, nearest first, rows of zeros
            where there were fewer; None where the prompt is the same for every image.
    """

    images: Sequence[Any] | Tensor
    tokens: Tensor | None

    @property
    def image(self) -> Any:
        """The only image; ValueError where there are several."""
        if len(self.images) != 1:
            raise ValueError(f"There are {len(self.images)} images: see .images.")
        return self.images[0]


class Restorer:
    """Restores aligned faces with a trained one-step generator.

    Nothing is drawn at random: the VAE's latent is its posterior's mode (the released code samples
    it, R). So a picture's restoration depends on that picture alone.

    Attributes:
        resolution: Side of the pictures that the model works on.
    """

    def __init__(
        self,
        generator: OneStepGenerator,
        resolution: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        exact: bool = True,
        compile: bool = False,
        cuda_graphs: bool = False,
    ) -> None:
        """Takes over ``generator``: UNet and VAE go to ``dtype``, the prompt stays in float32.

        The options are those of :meth:`from_pretrained`.
        """
        self.device = usable_device(device, dtype)
        self.dtype, self.resolution, self.exact = dtype, resolution, exact
        self.pipeline = RestorationPipeline(generator, dtype).place(self.device)
        self.generator: Any = generator
        self._run: Run = build_run(self.pipeline, self.device, exact, compile, cuda_graphs)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        base: str | Path | None = None,
        weights_dir: str | Path | None = None,
        vre: str | Path | None = None,
        *,
        exact: bool = True,
        compile: bool = False,
        cuda_graphs: bool = False,
    ) -> "Restorer":
        """Loads a trained restorer and merges its LoRA; nothing is ever downloaded.

        Args:
            path: Export folder of stage 2; what ``experiments.export format=safetensors`` wrote;
                a run's ``.ckpt``; a folder with the three released files; or "tiny", the shipped
                model of drawn 64 px portraits.
            device: None takes CUDA, MPS or the CPU, whichever comes first.
            dtype: Of UNet and VAE; the VRE and the division of the one-step formula stay in
                float32.
            base: Diffusers folder of the base; needed for the released files, otherwise that of
                the run is taken.
            weights_dir: Where a base is looked for that is no path.
            vre: Of a ``.ckpt`` without its run's export beside it: the stage-1 export.
            exact: False trades the promise that batches do not change a picture for speed: the
                VRE takes a batch at once, and TF32 is as the process has it.
            compile: Compiles UNet and VAE by torch.compile, at the first call of each batch size;
                the VRE is left alone, so the tokens stay the same.
            cuda_graphs: Replays CUDA graphs, captured at the first call of each batch size.

        Raises:
            UserError: Something is missing or does not belong together, or there is no such
                device, or the options need another one.
        """
        usable_device(device, dtype)  # at once: loading takes a while
        generator, resolution = open_restorer(path, base, weights_dir, vre)
        return cls(generator, resolution, device, dtype, exact, compile, cuda_graphs)

    def restore(
        self, images: Any, batch_size: int = 8, original_size: bool = False
    ) -> RestorerOutput:
        """Restores aligned faces.

        Args:
            images: One or a list of: PIL image, path, array (H, W, 3) or (H, W) in uint8 or floats
                in [0, 1], tensor (3, H, W) in [-1, 1]; or a batch (B, 3, H, W). Any size: it is
                resampled to ``resolution``, what is not square padded for the while.
            batch_size: Images at once. Batches agree to 1e-4 in float32.
            original_size: Resamples each restored image to the size that came in; else its longer
                side is ``resolution``.

        Raises:
            UserError: An image has another type, shape or range, or ``batch_size`` is below 1.
        """
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} is wrong: at least 1.")
        inputs = as_inputs(images)
        restored: list[Any] = []
        tokens: list[Tensor] = []
        for start in range(0, len(inputs), batch_size):
            chosen = inputs[start : start + batch_size]
            faces = [fit(each.tensor.cpu(), self.resolution) for each in chosen]
            batch, entries = self._restore(torch.cat(faces).to(self.device))
            for each, image in zip(chosen, batch.cpu(), strict=True):
                image = unfit(image, each.tensor.shape[1], each.tensor.shape[2], original_size)
                restored.append(each.back(image))
            tokens += [] if entries is None else [entries.cpu()]
        found = torch.cat(tokens) if tokens else None
        is_batch = isinstance(images, Tensor) and images.ndim == 4 and len(restored) > 0
        return RestorerOutput(torch.stack(restored) if is_batch else restored, found)

    def _restore(self, degraded: Tensor) -> tuple[Tensor, Tensor | None]:
        """Maps (B, 3, R, R) to restored images, in [-1, 1], and entries (B, 77, C)."""
        with exact_inference() if self.exact else torch.inference_mode():
            image, entries = self._run(degraded)
        # Clones are no inference tensors: they may go into a computation with gradients.
        return image.clone(), None if entries is None else entries.clone()
