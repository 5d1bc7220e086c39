import cv2
import torch

from osdface.networks.latents import LatentCodec
from osdface.networks.taesd import load_taesd


def test_round_trip_of_real_faces(shared_data) -> None:
    codec = LatentCodec(load_taesd(shared_data / "data" / "weights" / "autoencoder"))
    assert codec.channels == 4 and codec.downsampling == 8
    paths = sorted((shared_data / "data" / "faces" / "lfw_aligned_128").glob("*.jpg"))[:6]
    images = torch.stack(
        [torch.from_numpy(cv2.imread(str(p))[:, :, ::-1].copy()).permute(2, 0, 1) for p in paths]
    )
    images = images / 127.5 - 1
    with torch.no_grad():
        error = (codec.roundtrip(images) - images).square().mean((1, 2, 3)) / 4
    assert (-10 * error.log10()).mean() > 26
