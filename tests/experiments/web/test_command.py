"""The command: its keys, its mistakes, and one real start."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from experiments import demo
from experiments.web import serving
from tests.experiments.web.conftest import portrait
from tests.experiments.web.malformed import encoded
from tests.experiments.web.talking import restored

ROOT = Path(__file__).resolve().parents[3]
# The command, in a Python that tells of every connection to elsewhere.
WATCHED = """
import sys
def hook(event, args):
    where = {"socket.connect": 1, "socket.getaddrinfo": 0}.get(event)
    place = None if where is None else args[where]
    place = place[0] if isinstance(place, tuple) else place
    if place not in (None, "127.0.0.1", "localhost"):
        print("OUTSIDE", event, place, file=sys.stderr)
sys.addaudithook(hook)
from experiments.demo import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("ports=1", "did you mean port"),
        ("port=70000", "0 to 65535"),
        ("port=x", "port must be"),
        ("max_pixels=1", "4096 to"),
        ("keep_minutes=0", "1 to"),
        ("confidence=2", "0.01 to 0.99"),
        ("dtype=int8", "dtype"),
        ("device=tpu9", "no device"),
        ("checkpoint=,", "names nothing"),
        ("checkpoint=nowhere", "no nowhere"),
        ("checkpoint=tiny,nowhere", "no nowhere"),
        ("weights_dir=nowhere", "no folder"),
        ("base=nowhere", "only for"),
    ],
)
def test_a_mistake_is_one_sentence(word, answer, capsys):
    pytest.importorskip("gradio", reason="gradio (the extra demo) is not installed")
    assert demo.main([word]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and answer in error


def test_gradio_missing_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(serving, "find_spec", lambda name: None)
    assert demo.main([]) == 2
    assert "install the extra demo" in capsys.readouterr().err


def test_help_names_every_key(capsys):
    assert demo.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {key} " in text for key in demo.KEYS)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_says_where_it_is_and_ends_clean(tmp_path, sign):
    pytest.importorskip("gradio", reason="gradio (the extra demo) is not installed")
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WATCHED, "port=0", "device=cpu"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        said = ""
        while "Ctrl-C" not in said:
            said += process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", said)
        assert found is not None and "Aligned faces only" in said
        assert "Restore a face" in httpx.get(f"{found[0]}config").text
        with httpx.Client(base_url=found[0], timeout=60) as client:
            assert len(restored(client, encoded(Image.fromarray(portrait(1)), "PNG"))) == 2
        assert list(tmp_path.glob("osdface-demo-*"))
        process.send_signal(sign)
        out, error = process.communicate(timeout=60)
    assert process.returncode == 0 and "deleted" in out
    assert "Traceback" not in error and "OUTSIDE" not in error
    assert not list(tmp_path.glob("osdface-demo-*"))
