"""What is no feature trunk is a user's mistake."""

import pytest
import torch

from osdface.errors import UserError
from osdface.networks.perceptual import load_trunk
from osdface.networks.vgg16 import VGG16Trunk


@pytest.mark.parametrize(
    ("spec", "words"),
    [("vgg61", "vgg16"), ("absent.safetensors", "absent.safetensors"), ("junk.safetensors", "not")],
)
def test_bad_specifications_are_user_errors(tmp_path, spec, words):
    (tmp_path / "junk.safetensors").write_text("no weights")
    with pytest.raises(UserError, match=words):
        load_trunk(spec, weights_dir=tmp_path)


def test_another_networks_file_is_a_user_error(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "x.pth")
    with pytest.raises(UserError, match="no VGG16"):
        load_trunk(str(tmp_path / "x.pth"))
    with pytest.raises(UserError, match="pooling"):
        VGG16Trunk("mean")
