"""The keys of the evaluation and what makes no sense of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.cli.plain import REQUIRED, Key
from experiments.cli.suggest import unknown
from osdface.errors import UserError

KINDS = ("missing", "extra", "unreadable", "size")
KEYS = {
    "restored": Key(REQUIRED, "folder of restored images of any method, or WebDataset shards: "
                    "a path, a glob, a range such as 'DIR/a-{000000..000009}.tar'"),
    "reference": Key(None, "folder or shards of the originals, of the same stems and sizes"),
    "suite": Key("celeba_test", "which figures", ("celeba_test", "real_world")),
    "metrics": Key(None, "some of them or more: psnr,lpips,...; default the suite's columns"),
    "fid_reference": Key(None, "what FID compares with: images, or a file of their statistics; "
                         "default FFHQ's, a weight file"),
    "output_dir": Key(REQUIRED, "folder of the results; repeat the command to go on in it"),
    "suffix": Key(None, "what a method puts behind a stem, such as _00"),
    "allow": Key("none", f"differences of the folders that are left out: {', '.join(KINDS)}"),
    "perceptual": Key("vgg16", "network of LPIPS and DISTS: vgg16, vgg16_hed, tiny"),
    "lpips": Key(None, "network of LPIPS alone, such as alex; default as perceptual="),
    "identity": Key("arcface_resnet18", "of Deg.: arcface_resnet18, arcface_ir_se50, "
                    "mobilefacenet, w600k_mbf, tiny_b"),
    "landmarks": Key("awing_fan", "of LMD: awing_fan; stand-ins 2d106det, pfld_68"),
    "features": Key("inception", "of FID and KID: inception; stand-ins vgg16, vgg16_hed, tiny"),
    "weights_dir": Key(None, "folder of their files; default $OSDFACE_WEIGHTS"),
    "device": Key(None, "cuda, cuda:1, mps or cpu; default the first that is there"),
    "batch": Key(4, "images at once"),
    "processes": Key(1, "processes that share the images, one a GPU (device=cpu: on the CPU)"),
    "grid": Key(8, "rows of worst.png and best.png; 0 for none"),
    "save_statistics": Key(False, "write the restored images' statistics, to be an fid_reference="),
    "wandb": Key(False, "log the figures and pictures to W&B"),
    "progress": Key(True, "a progress bar; without a terminal a line at every tenth"),
}  # fmt: skip
HEAD = """\
usage: python -m experiments.evaluate restored=DIR [reference=DIR] output_dir=DIR [key=value ...]

Measures any method's images by the figures of the paper's tables. Writes metrics.csv (a row an
image), summary.md, summary.json (what every figure rests on), worst.png and best.png. Networks that
stand in for the published ones are named in every file. A weight file that is missing is said at
the start; metrics= leaves its figure out. Repeating a command computes nothing twice."""


def listed(text: str | None) -> list[str]:
    """Returns the names of ``[a,b]`` or ``a,b``."""
    return [name.strip() for name in (text or "").strip("[] ").split(",") if name.strip()]


def allowed(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the kinds of differences that ``allow=`` names; UserError for an unknown one."""
    kinds = () if values["allow"] == "none" else tuple(listed(values["allow"]))
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind in allow=", kind, KINDS)
    return kinds


def check(values: Mapping[str, Any]) -> None:
    """Raises UserError for what makes no sense."""
    allowed(values)
    for key, least in (("batch", 1), ("processes", 1), ("grid", 0)):
        if values[key] < least:
            raise UserError(f"{key}={values[key]} is wrong: at least {least}.")
    output = Path(values["output_dir"]).expanduser()
    if output.exists() and not output.is_dir():
        raise UserError(f"output_dir={output} is a file: name a folder.")
    for key in ("restored", "reference", "fid_reference"):
        if values[key] and Path(values[key]).expanduser().resolve() == output.resolve():
            raise UserError(f"output_dir= is the folder of {key}=: choose another one.")
