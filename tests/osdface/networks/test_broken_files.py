"""A weight file that is something else, such as a server's page, is one sentence."""

import pytest
import torch

from osdface.errors import UserError
from osdface.networks.identity import load_identity
from osdface.networks.perceptual import load_trunk

FILES = {
    "vgg16": "vgg16-397923af.pth",
    "alex": "alexnet-owt-7be5be79.pth",
    "arcface_ir_se50": "recognition_arcface_ir_se50.pth",
    "arcface_resnet18": "arcface_resnet18.pth",
    "mobilefacenet": "mobilefacenet_foamliu.pt",
    "w600k_mbf": "w600k_mbf.onnx",
}


@pytest.mark.parametrize("spec", FILES)
def test_what_is_no_such_network_is_told(spec, tmp_path) -> None:
    if spec == "w600k_mbf":
        pytest.importorskip("onnxruntime")
    load = load_trunk if spec in ("vgg16", "alex") else load_identity
    path = tmp_path / FILES[spec]
    path.write_bytes(b"<!DOCTYPE html><html></html>\n")
    contents: list[object] = [None, [1.0], {"features.0.weight": torch.ones(2)}]
    for content in contents:
        if content is not None:
            torch.save(content, path)
        with pytest.raises(UserError) as error:
            load(spec, tmp_path)
        assert "\n" not in str(error.value)
