"""OSDFace in plain PyTorch: one-step diffusion face restoration (CVPR 2025)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osdface.restorer import Restorer, RestorerOutput

__version__ = "0.1.0"
__all__ = ["Restorer", "RestorerOutput", "__version__"]


def __getattr__(name: str) -> Any:
    # Only now: torch and diffusers take seconds, and most imports of this package need neither.
    if name in ("Restorer", "RestorerOutput"):
        from osdface import restorer

        return getattr(restorer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
