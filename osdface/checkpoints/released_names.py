"""Names of the released dictionaries (taming's) for the tensors of our diffusers modules (R)."""

import re

# Ours -> released, in encoder and decoder alike; numbered blocks and levels follow below.
_MODULES = {
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "group_norm": "norm1",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
    "downsamplers.0": "downsample",
    "upsamplers.0": "upsample",
    "mid_block.attentions.0": "mid.attn_1",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
}
CODEBOOK = "quantize.embedding.weight"
UNUSED_NORM = "norm2"


def released_name(name: str, levels: int) -> str:
    """Returns the released name of one of our tensors, below ``vqvae_LQ.`` or ``vqvae.``.

    Args:
        name: In the state of a VQAutoencoder or VisualRepresentationEmbedder, such as
            ``encoder.down_blocks.0.resnets.1.conv1.weight``.
        levels: Number of resolutions; the released decoder counts its levels from the image down.
    """
    if name in ("codebook", "quantizer.codebook"):
        return CODEBOOK
    for ours, released in _MODULES.items():
        name = re.sub(rf"(?<=\.){re.escape(ours)}(?=\.)", released, name)
    name = re.sub(r"down_blocks\.(\d+)\.", r"down.\1.", name)
    name = re.sub(r"up_blocks\.(\d+)\.", lambda m: f"up.{levels - 1 - int(m[1])}.", name)
    return name.replace(".resnets.", ".block.").replace(".attentions.", ".attn.")


def unused_norms(released: list[str]) -> list[str]:
    """Returns the second norms that the released attention blocks hold and never use.

    Args:
        released: Released names of a whole state.
    """
    blocks = sorted(
        name.removesuffix("q.weight") for name in released if name.endswith(".q.weight")
    )
    return [f"{block}{UNUSED_NORM}.{part}" for block in blocks for part in ("weight", "bias")]
