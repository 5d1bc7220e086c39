"""The counts as CSV and Markdown, beside the paper's own table."""

from typing import Any

from experiments.reporting.published import COMPLEXITY_ROWS, complexity_rows
from experiments.reporting.tables import csv_text, markdown_table

LABELS = {
    "vae_encoder": "VAE encoder",
    "vae_decoder": "VAE decoder",
    "unet": "UNet, LoRA merged",
    "vre_encoder": "VRE encoder and dictionary",
    "vre_lookup": "VRE, nearest entries",
    "prompt_convs": "prompt convolutions",
    "text_encoder": "text encoder, one prompt",
}
_COLUMNS = ("params", "trainable", "macs", "macs_without_attention")
_PAPERS_SCALE = "sd21"
_PUBLISHED = """
## Published

At 512x512, one image: the OSDFace paper (CVPR 2025, arXiv:2411.17163) and its poster; time on the
authors' GPU. DiffBIR's parameters are printed as "3.042" on the poster, read here as 3,042 M.
How the paper counted is not said: OSDFace's architecture counted here at `scale=sd21` gives 979.1 M
and 2318 G, 2220 G of them outside attention's own products.

"""
_LEFT_OUT = """
The tagger that writes OSEDiff's prompt, RAM with DAPE's weights, is left out: its network is not
part of this package. What the published total holds beside the parts counted here is not said; the
last row is what remains for it. A Swin-L by itself, which that tagger has, is some 197 M (Liu et
al. 2021): more than remains.
"""


def as_csv(found: dict[str, Any]) -> str:
    """Returns a row a part, then LoRA by itself and the total; in units, not millions."""
    rows = [{"part": name, **part} for name, part in found["parts"].items()]
    lora = found["lora"]
    rows.append(
        {"part": "lora_unmerged", "params": lora["params"], "trainable": lora["params"]}
        | {"macs": lora["macs_unmerged"]}
    )
    rows.append(
        {
            "part": "total",
            "params": found["params_total"],
            "trainable": found["params_trainable"],
            "macs": found["macs_total"],
            "macs_without_attention": found["macs_without_attention"],
        }
    )
    if (rest := remainder(found)) is not None:
        left = {"params": round(rest["params_m"] * 1e6), "macs": round(rest["macs_g"] * 1e9)}
        rows.append({"part": "published_less_total", **left})
    return csv_text(("part", *_COLUMNS), rows)


def _cells(label: str, figures: Any) -> list[str]:
    params, trainable, macs, without = figures
    return [label, f"{params / 1e6:.3f}", f"{trainable / 1e6:.3f}", *_giga(macs), *_giga(without)]


def _giga(value: int) -> list[str]:
    # Four significant digits from a tenth of a G on, more places below.
    return [f"{value / 1e9:.1f}" if value >= 1e10 else f"{value / 1e9:.4f}"]


def _counted(found: dict[str, Any]) -> str:
    lines = [
        _cells(LABELS[name], [part[each] for each in _COLUMNS])
        for name, part in found["parts"].items()
    ]
    total = (found["params_total"], found["params_trainable"])
    total += (found["macs_total"], found["macs_without_attention"])
    lines.append(_cells("total (trainable: with LoRA)", total))
    header = ["part", "parameters, M", "trainable, M", "GMACs", "GMACs without attention products"]
    return markdown_table(header, lines)


def remainder(found: dict[str, Any]) -> dict[str, float] | None:
    """Returns what of the published total no part accounts for, in M and G.

    None where the size is not the paper's: there nothing is comparable.
    """
    row = complexity_rows().get(COMPLEXITY_ROWS.get(found["method"], ""))
    if row is None or found["scale"] != _PAPERS_SCALE:
        return None
    params, macs = float(row["params_m"]), float(row["macs_g"])
    return {
        "params_m": params - found["params_total"] / 1e6,
        "macs_g": macs - found["macs_total"] / 1e9,
    }


def _against(found: dict[str, Any]) -> str:
    """The total beside the published one, and what remains."""
    if (rest := remainder(found)) is None:
        return ""
    name = COMPLEXITY_ROWS[found["method"]]
    row = complexity_rows()[name]
    counted = [f"{found['params_total'] / 1e6:.1f}", f"{found['macs_total'] / 1e9:.1f}"]
    lines = [
        ["counted here", *counted],
        [f"published for {name}", row["params_m"], row["macs_g"]],
        ["published less counted", f"{rest['params_m']:+.1f}", f"{rest['macs_g']:+.1f}"],
    ]
    table = markdown_table(["total", "parameters, M", "GMACs"], lines)
    return f"\n## Beside the published total\n\n{table}{_LEFT_OUT if name == 'OSEDiff' else ''}"


def _time(time: dict[str, Any] | None) -> str:
    if time is None:
        return "Time and memory were not measured (`time=true` measures them).\n"
    where = f"{time['device']}, {time['dtype']}, batch {time['batch']}"
    where += f", {time['threads']} thread(s)" if time["threads"] else ""
    return (
        f"Time: {time['seconds_per_image']:.4f} s an image (median of {time['repeats']} runs; "
        f"{where}; random weights). Peak memory: {time['peak_memory_bytes'] / 2**30:.2f} GiB "
        f"({time['peak_memory_of']}).\n"
    )


def as_markdown(found: dict[str, Any]) -> str:
    """Returns the report."""
    side, lora = found["resolution"], found["lora"]
    head = f"# Complexity of {found['method']} at scale={found['scale']}\n\n"
    head += f"One image of {side}x{side}. "
    head += (
        "A MAC is a multiplication with its addition; products and convolutions are counted.\n\n"
    )
    unmerged = (
        f"\nLoRA of rank {lora['rank']}, {lora['params'] / 1e6:.3f} M, is merged for inference "
        "and then costs nothing. Unmerged it adds its parameters and "
        f"{_giga(lora['macs_unmerged'])[0]} GMACs.\n\n"
    )
    if found["whole"]:
        unmerged += f"Trained whole beside LoRA: {found['whole'] / 1e6:.3f} M.\n\n"
    if "text_encoder" not in found["parts"] and COMPLEXITY_ROWS.get(found["method"]) == "OSEDiff":
        unmerged += "This scale has no text encoder: its prompt is a fixed embedding.\n\n"
    published = markdown_table(
        ["method", "steps", "seconds", "parameters, M", "GMACs"],
        [
            [row[key] for key in ("method", "steps", "seconds", "params_m", "macs_g")]
            for row in complexity_rows().values()
        ],
    )
    parts = [head, _counted(found), unmerged, _time(found["time"]), _against(found)]
    return "".join([*parts, _PUBLISHED, published])
