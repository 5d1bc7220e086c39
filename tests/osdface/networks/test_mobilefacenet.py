"""MobileFaceNet against its publication."""

from osdface.networks.mobilefacenet import MobileFaceNet


def test_mobilefacenet_has_its_published_size():
    assert sum(p.numel() for p in MobileFaceNet().parameters()) == 999_936
