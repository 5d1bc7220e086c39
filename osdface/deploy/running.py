"""How a pipeline is run: as it is, compiled, as CUDA graphs."""

from collections.abc import Callable

import torch
from torch import Tensor

from osdface.deploy.cuda_graphs import GraphedCall
from osdface.deploy.pipeline import RestorationPipeline
from osdface.errors import UserError

# Images (B, 3, R, R) to restored images and the VRE's entries, where there are any.
Run = Callable[[Tensor], tuple[Tensor, Tensor | None]]


def build_run(
    pipeline: RestorationPipeline,
    device: torch.device,
    exact: bool = True,
    compile: bool = False,
    cuda_graphs: bool = False,
) -> Run:
    """Returns the function that restores a batch.

    Args:
        pipeline: On its device.
        device: That device.
        exact: Whether the VRE takes the images one by one, so that no neighbour changes a token.
        compile: Whether UNet and VAE are compiled, in one graph, at each batch size's first call.
        cuda_graphs: Whether all of it is captured at each batch size's first call.

    Raises:
        UserError: CUDA graphs are asked for on another device.
    """
    if cuda_graphs and device.type != "cuda":
        raise UserError(f"CUDA graphs need a CUDA device, not {device}: leave cuda_graphs out.")
    image = _compiled(pipeline.image) if compile else pipeline.image

    def run(images: Tensor) -> tuple[Tensor, Tensor | None]:
        entries = pipeline.entries(images, together=not exact)
        return image(images, entries), entries

    if not cuda_graphs:
        return run
    graphed = GraphedCall(run, device)

    def replay(images: Tensor) -> tuple[Tensor, Tensor | None]:
        restored, entries = graphed(images)
        assert restored is not None
        return restored, entries

    return replay


def _compiled(
    call: Callable[[Tensor, Tensor | None], Tensor],
) -> Callable[[Tensor, Tensor | None], Tensor]:
    """Compiles a function; what the compiler itself lacks becomes a sentence."""
    compiled = torch.compile(call)

    def run(images: Tensor, entries: Tensor | None) -> Tensor:
        from torch._dynamo.exc import BackendCompilerFailed
        from torch._inductor import exc

        # Its present name; before torch 2.7 the backend's failure alone was raised.
        failures = (BackendCompilerFailed, getattr(exc, "InductorError", BackendCompilerFailed))
        try:
            return compiled(images, entries)
        except failures as error:
            line = str(error).strip().splitlines()[0]
            raise UserError(f"compile=true failed here ({line}): leave it out.") from error

    return run
