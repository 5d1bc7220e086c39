"""OSDFace in plain PyTorch: one-step diffusion face restoration (CVPR 2025)."""

__version__ = "0.1.0"
