"""A server with one file of known bytes."""

import hashlib
import os

import pytest

from osdface.weights.registry import Weight

from .weight_server import serving

DATA = os.urandom(300_000)


@pytest.fixture
def server():
    with serving() as found:
        found.files["net.pth"] = DATA
        yield found


@pytest.fixture
def weight(server) -> Weight:
    digest = hashlib.sha256(DATA).hexdigest()
    address = f"{server.url}/net.pth"
    return Weight("net.pth", "a test", "MIT", address, "nets", len(DATA), digest)
