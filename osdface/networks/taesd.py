"""TAESD's published files as diffusers' AutoencoderTiny."""

from pathlib import Path

from diffusers import AutoencoderTiny
from safetensors.torch import load_file

from osdface.errors import UserError

ENCODER_FILE, DECODER_FILE = "taesd_encoder.safetensors", "taesd_decoder.safetensors"


def is_taesd(folder: str | Path) -> bool:
    """Returns whether a folder holds TAESD's two published files."""
    return all((Path(folder) / name).is_file() for name in (ENCODER_FILE, DECODER_FILE))


def load_taesd(folder: str | Path) -> AutoencoderTiny:
    """Loads TAESD (4 latent channels, factor 8) from its two files, in float32.

    The published modules are plain sequences; diffusers puts ``encoder.layers.`` before each name,
    and its decoder lacks the first, parameterless entry, so its numbers are one lower.
    """
    folder = Path(folder)
    encoder, decoder = load_file(folder / ENCODER_FILE), load_file(folder / DECODER_FILE)
    state = {f"encoder.layers.{key}": value.float() for key, value in encoder.items()}
    for key, value in decoder.items():
        number, _, rest = key.partition(".")
        state[f"decoder.layers.{int(number) - 1}.{rest}"] = value.float()
    vae = AutoencoderTiny()
    try:
        vae.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(f"{folder} does not hold TAESD's weights: {error}.") from error
    return vae
