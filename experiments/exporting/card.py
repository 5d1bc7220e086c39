"""The model card beside an export."""

from collections.abc import Mapping
from typing import Any

from experiments.exporting.facts import Facts
from osdface import __version__
from osdface.deploy.graphs import INPUT, LARGEST_BATCH, OUTPUT
from osdface.paths import SHIPPED_PREFIX

CARD = "README.md"
_SNIPPETS = {
    "onnx": f"""\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("restorer.onnx", providers=["CPUExecutionProvider"])
faces = np.zeros((2, SIDE, SIDE, 3), np.uint8)  # aligned as FFHQ, RGB
images = (faces.transpose(0, 3, 1, 2) / 127.5 - 1).astype(np.float32)
(restored,) = session.run(["{OUTPUT}"], {{"{INPUT}": images}})
result = ((restored.transpose(0, 2, 3, 1) + 1) * 127.5).round().astype(np.uint8)
""",
    "torch_export": """\
import torch

restorer = torch.export.load("restorer.pt2").module()
faces = torch.zeros(2, 3, SIDE, SIDE, dtype=torch.uint8)  # aligned as FFHQ, RGB
with torch.no_grad():
    restored = restorer(faces / 127.5 - 1)
result = ((restored + 1) * 127.5).round().to(torch.uint8)
""",
    "safetensors": """\
import torch

from osdface import Restorer

restorer = Restorer.from_pretrained(".", device="cpu")
faces = torch.zeros(2, 3, SIDE, SIDE)  # aligned as FFHQ, RGB, in [-1, 1]; or PIL, NumPy, paths
restored = restorer.restore(faces).images
result = ((restored + 1) * 127.5).round().to(torch.uint8)
""",
}
_NEEDS = {
    "onnx": "onnxruntime and numpy",
    "torch_export": "torch alone (2.6 or newer, best the version that exported it); CPU",
    "safetensors": "osdface; `base/` alone is a folder of diffusers (merged UNet, VAE, scheduler)",
}
_BATCHES = {
    "onnx": "any B >= 1",
    "torch_export": f"1 <= B <= {LARGEST_BATCH}",
    "safetensors": "any B >= 1",
}


def model_card(kind: str, resolution: int, facts: Facts, difference: float) -> str:
    """Returns the card in Markdown.

    Args:
        kind: The export's format.
        resolution: Side of the images.
        facts: What is known of the restorer.
        difference: What the check of parity found.
    """
    shape = f"`(B, 3, {resolution}, {resolution})` float32, RGB, in [-1, 1], {_BATCHES[kind]}"
    parts = [
        f"# One-step face restoration, {kind}",
        f"Written by osdface {__version__} from {facts.source}. VRE, UNet with merged LoRA and VAE "
        "in one; nothing is drawn at random.",
        "A restored face is an estimate, not evidence: the model invents what the picture does not "
        "hold, and the face may be another person's.",
        "## Input and output",
        f"- `{INPUT}`: {shape}. Faces aligned as FFHQ is; other sizes have to be resampled first.\n"
        f"- `{OUTPUT}`: the same shape and range.\n"
        f"- Needs {_NEEDS[kind]}.\n"
        "- Largest difference of a pixel from the restorer in torch, float32, CPU, batches of 1, 2 "
        f"and 5 degraded drawn portraits: {difference:.2g}.",
        f"```python\n{_SNIPPETS[kind].replace('SIDE', str(resolution))}```",
        "## Training",
        _table(facts.training, "setting"),
        "## Data",
        _table(facts.data, "setting"),
        "## Figures",
        _figures(facts),
        "## Stand-ins",
        _stand_ins(facts),
        "## Licences",
        _licences(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: Mapping[str, Any], head: str) -> str:
    if not rows:
        return "Not known: nothing beside the weights tells it."
    lines = [f"| {head} | value |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {_cell(value)} |" for name, value in rows.items())])


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _figures(facts: Facts) -> str:
    if not facts.figures:
        return "Not known: the weights came without figures."
    lines = ["Validation of these weights, on held-out pictures.", "", "| figure | value | how |"]
    lines += ["|---|---|---|"]
    for name, value in facts.figures.items():
        by_stand_in = facts.stand_ins and name.startswith(("perceptual", "identity"))
        how = facts.specification.get(name) or ("by a stand-in" if by_stand_in else "-")
        lines.append(f"| {name} | {value:.4g} | {_cell(how)} |")
    return "\n".join(lines)


def _stand_ins(facts: Facts) -> str:
    if facts.stand_ins:
        lines = [f"- {line}" for line in facts.stand_ins]
        head = "Small networks of ours in place of the published ones; figures made with them "
        return "\n".join([head + "compare runs of one kind and nothing else:", "", *lines])
    return "Not known." if facts.stand_ins is None else "None."


def _licences(facts: Facts) -> str:
    lines = ["- Code: osdface is under Apache-2.0."]
    if facts.base.startswith(SHIPPED_PREFIX):
        lines.append(
            f"- Base `{facts.base}`: ours, trained on drawn portraits alone, under Apache-2.0."
        )
    else:
        lines.append(
            f"- Base `{facts.base or 'not known'}`: its weights are in this export, and its terms "
            "go along. Stable Diffusion 2.1's are CreativeML Open RAIL++-M, with use restrictions "
            "that have to be passed on; TAESD's are MIT."
        )
    lines += [f"- {facts.terms}"] if facts.terms else []
    if facts.released:
        lines.append(
            "- LoRA, VRE and prompt convolutions: released by the paper's authors without a "
            "licence beside them; ask them before passing this on."
        )
    if facts.data.get("kind") in ("folder", "shards"):
        lines.append(
            "- Training pictures: their terms may bind what was trained on them. FFHQ is CC "
            "BY-NC-SA 4.0; FFHQR, CelebA, LFW and WIDER FACE are for non-commercial research."
        )
    lines.append("This is no legal advice; osdface's NOTICE lists more.")
    return "\n".join(lines[:-1]) + "\n\n" + lines[-1]
