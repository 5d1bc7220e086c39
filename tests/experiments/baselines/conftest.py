"""A restoration method of a few lines in a virtual environment of its own, and pictures for it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Needs nothing but the standard library; what it does depends on --mode.
METHOD = """
import argparse, os, pathlib, shutil, struct, subprocess, sys, time, zlib

def png(path, side):
    def chunk(kind, data):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    rows = zlib.compress((b"\\0" + b"\\x80" * 3 * side) * side)
    path.write_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + head + chunk(b"IDAT", rows) + chunk(b"IEND", b""))

parser = argparse.ArgumentParser()
for word in ("-i", "-o", "--mode", "--here"):
    parser.add_argument(word)
args = parser.parse_args()
here = pathlib.Path(args.here)
(here / "prefix.txt").write_text(sys.prefix + "\\n" + os.getcwd())
with open(here / "calls.txt", "a") as calls:
    calls.write(str(len(os.listdir(args.i))) + "\\n")
out = pathlib.Path(args.o) / "restored_faces"
out.mkdir(parents=True)
files = sorted(pathlib.Path(args.i).iterdir())
if args.mode == "hangs" and len(files) > 1:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    (here / "pids.txt").write_text(str(os.getpid()) + " " + str(child.pid))
    print("hanging", flush=True)
    time.sleep(300)
for number, file in enumerate(files):
    if args.mode == "crashes" and number == 1:
        raise RuntimeError("CUDA out of memory")
    if args.mode == "half" and number % 2:
        continue
    target = out / (file.stem + "_00.png")
    if args.mode == "size" and number == 1:
        png(target, 3)
    elif args.mode == "broken" and number == 1:
        target.write_bytes(file.read_bytes()[:60])
    else:
        shutil.copy(file, target)
"""
MODES = ("copies", "crashes", "hangs", "half", "size", "broken")
FILE = """\
# a method of the tests
name: {name}  # not in the paper
repository: https://example.org/{mode}  # nowhere
licence: Apache-2.0  # as this project
command: "{{python}} restore.py -i {{input}} -o {{output}} --mode {mode} --here {{state}}"
outputs: restored_faces  # below the output folder
suffix: _00  # behind the input's name
paths: {{state: state}}  # where it leaves its traces
"""


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> Path:
    """The interpreter of a virtual environment without any package."""
    folder = tmp_path_factory.mktemp("a venv") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    return folder / "bin/python"


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Folders ``lq`` and ``hq`` with five pictures each; hq differs from lq by ten levels."""
    random = np.random.default_rng(0)
    for name in "abcde":
        levels = random.integers(0, 240, (16, 16, 3), dtype=np.uint8)
        for folder, shift in (("lq", 0), ("hq", 10)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(levels + np.uint8(shift)).save(tmp_path / folder / f"{name}.png")
    return tmp_path


class Checkouts:
    """A checkout for each mode, the files that describe them, and the words for a command."""

    def __init__(self, root: Path, python: Path) -> None:
        self.root, self.python = root, python
        (root / "methods").mkdir()
        for mode in MODES:
            (self.folder(mode) / "state").mkdir(parents=True)
            (self.folder(mode) / "restore.py").write_text(METHOD)
            text = FILE.format(name=f"The {mode} one", mode=mode)
            (root / f"methods/{mode}.yaml").write_text(text)

    def folder(self, mode: str) -> Path:
        return self.root / "check outs" / mode

    def state(self, mode: str, name: str) -> list[str]:
        return (self.folder(mode) / "state" / name).read_text().split()

    def words(self, *modes: str, **changes: object) -> list[str]:
        values: dict[str, object] = {
            "methods": f"[{','.join(modes)}]",
            "baselines": self.root / "methods",
            "input": self.root / "lq",
            "reference": self.root / "hq",
            "output_dir": self.root / "out",
            "metrics": "psnr,ssim",
            "device": "cpu",
            "timing": "false",
        }
        for mode in modes:
            if mode in MODES:
                values[f"baseline.{mode}.checkout"] = self.folder(mode)
                values[f"baseline.{mode}.python"] = self.python
        return [f"{key}={value}" for key, value in (values | changes).items()]


@pytest.fixture
def checkouts(pictures, environment) -> Checkouts:
    return Checkouts(pictures, environment)
