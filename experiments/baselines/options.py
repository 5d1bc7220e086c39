"""The keys of the benchmark and what makes no sense of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.baselines.method_files import known_methods, shipped_methods, words_of
from experiments.baselines.methods import Method, changed
from experiments.baselines.paper import SETS
from experiments.baselines.pictures import KINDS
from experiments.cli.plain import Key
from experiments.cli.suggest import unknown
from osdface.errors import UserError

TABLES = ("1", "2", "complexity", "ablation_losses", "ablation_vre")
PLAIN_KEYS = {
    "methods": Key("all", "all, or some of experiments/conf/baseline: [codeformer,osdface_ours]"),
    "suite": Key("celeba_test", "which figures", ("celeba_test", "real_world")),
    "set": Key(None, f"suite=real_world: which of its sets input= is: {', '.join(SETS)}"),
    "input": Key(None, "folder of degraded faces, aligned, 512 px in the paper"),
    "reference": Key(None, "folder of the originals, of the same names"),
    "output_dir": Key(None, "folder of the results; repeat the command to go on in it"),
    "outputs": Key(None, "score images that are there, in outputs/METHOD/, and run nothing"),
    "checkpoint": Key(None, "of osdface_ours: an export folder, a .ckpt, or tiny"),
    "baselines": Key(None, "folder with further methods' files"),
    "allow": Key("none", f"differences of outputs that are left out: {', '.join(KINDS)}"),
    "timeout": Key(0.0, "seconds after which a method's process is ended; 0: never"),
    "timing": Key(True, "restore one picture first, twice, to tell loading from restoring"),
    "metrics": Key(None, "figures: psnr,lpips,...; default the suite's columns, PSNR and SSIM"),
    "perceptual": Key("vgg16", "network of LPIPS and DISTS: vgg16, vgg16_hed, tiny, or none"),
    "identity": Key("arcface_resnet18", "of Deg.: arcface_resnet18, mobilefacenet, tiny_b or none"),
    "landmarks": Key("awing_fan", "of LMD: awing_fan, 2d106det, pfld_68 or none"),
    "features": Key("inception", "of FID: inception, vgg16_hed, tiny or none"),
    "fid_reference": Key(None, "what FID compares with: images or statistics; default FFHQ's"),
    "weights_dir": Key(None, "folder of the scoring networks' files; default $OSDFACE_WEIGHTS"),
    "device": Key(None, "of the scoring networks: cuda, cpu, mps; default the first there is"),
    "table": Key(None, "make a table from what is on disk: 1, 2, complexity, ablation_losses, ..."),
    "runs": Key(None, "table=: folder that is searched through; of an ablation its own folder"),
}  # fmt: skip
_WORDS = words_of(shipped_methods().values())
KEYS = PLAIN_KEYS | {word: Key(None, f"{field} of that method") for word, field in _WORDS.items()}
HEAD = """\
usage: python -m experiments.benchmark methods=[...] input=DIR reference=DIR output_dir=DIR
       python -m experiments.benchmark outputs=DIR input=DIR reference=DIR output_dir=DIR
       python -m experiments.benchmark table=1|2|complexity|ablation_losses|ablation_vre runs=DIR

Runs restoration methods by their own commands in their own environments, times and scores them,
and writes the paper's tables (Markdown, CSV, LaTeX) with the published figures beside. A method is
given as baseline.METHOD.checkout=DIR baseline.METHOD.python=PATH, what it needs as
baseline.METHOD.paths.NAME=PATH; command, outputs and suffix may be changed alike. One that is not
there is a row that says so."""


def keys_for(argv: list[str]) -> dict[str, Key]:
    """Returns all keys, those of the methods in ``baselines=FOLDER`` among them."""
    folder = next((w.partition("=")[2] for w in argv if w.startswith("baselines=")), None)
    words = words_of(known_methods(folder).values())
    return PLAIN_KEYS | {
        word: Key(None, f"{field} of that method") for word, field in words.items()
    }


def listed(text: str) -> list[str]:
    """Returns the names of ``[a,b]`` or ``a,b``."""
    return [name.strip() for name in text.strip().strip("[]").split(",") if name.strip()]


def chosen_methods(values: Mapping[str, Any]) -> list[Method]:
    """Returns the methods that ``methods=`` names, with the words about them applied.

    Raises:
        UserError: There is no such method.
    """
    known = known_methods(values["baselines"])
    names = list(known) if values["methods"] == "all" else listed(values["methods"])
    if not names:
        raise UserError("methods= names none: all, or [codeformer,osdface].")
    methods = []
    for name in dict.fromkeys(names):
        if name not in known:
            raise unknown("method", name, known)
        prefix = f"baseline.{name}."
        words = {
            key.removeprefix(prefix): value
            for key, value in values.items()
            if key.startswith(prefix) and value is not None
        }
        if values["checkpoint"] and "checkpoint" in known[name].paths:
            words.setdefault("paths.checkpoint", values["checkpoint"])
        methods.append(changed(known[name], words))
    return methods


def check(values: Mapping[str, Any]) -> None:
    """Raises UserError for what makes no sense together."""
    if values["table"]:
        if values["table"] not in TABLES:
            raise unknown("table", values["table"], TABLES)
        if not values["runs"]:
            raise UserError("table= needs runs=DIR, the folder with the results.")
        return
    if values["runs"]:
        raise UserError("runs= belongs to table=: which one?")
    for key in ("input", "output_dir"):
        if not values[key]:
            raise UserError(f"{key}= is missing: {PLAIN_KEYS[key].comment}.")
    if values["suite"] == "real_world" and values["set"] not in SETS:
        raise UserError(f"suite=real_world needs set=, one of {', '.join(SETS)}.")
    if values["suite"] != "real_world" and values["set"]:
        raise UserError("set= belongs to suite=real_world.")
    if values["suite"] == "celeba_test" and not values["reference"]:
        raise UserError("suite=celeba_test needs reference=DIR, the originals.")
    if values["suite"] == "real_world" and values["reference"]:
        raise UserError("suite=real_world knows no reference=: its sets have none.")
    for kind in allowed(values):
        if kind not in KINDS:
            raise unknown("kind in allow=", kind, KINDS)
    if values["timeout"] < 0:
        raise UserError(f"timeout={values['timeout']:g} is wrong: seconds, or 0 for none.")
    for key in ("input", "reference", "outputs"):
        if values[key] and Path(values[key]).resolve() == Path(values["output_dir"]).resolve():
            raise UserError(f"output_dir= is the folder of {key}=: choose another one.")


def allowed(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the kinds of differences that ``allow=`` names."""
    return () if values["allow"] == "none" else tuple(listed(values["allow"]))
