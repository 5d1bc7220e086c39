"""The counts as CSV and Markdown, beside the paper's own table."""

import csv
from pathlib import Path
from typing import Any

from experiments.reporting.tables import csv_text, markdown_table

TABLE = Path(__file__).parents[1] / "reporting" / "published" / "complexity.csv"
LABELS = {
    "vae_encoder": "VAE encoder",
    "vae_decoder": "VAE decoder",
    "unet": "UNet, LoRA merged",
    "vre_encoder": "VRE encoder and dictionary",
    "vre_lookup": "VRE, nearest entries",
    "prompt_convs": "prompt convolutions",
}
_COLUMNS = ("params", "trainable", "macs", "macs_without_attention")
_PUBLISHED = """
## Published

At 512x512, one image: the OSDFace paper (CVPR 2025, arXiv:2411.17163) and its poster; time on the
authors' GPU. DiffBIR's parameters are printed as "3.042" on the poster, read here as 3,042 M.
How the paper counted is not said: the same architecture counted here at `scale=sd21` gives 979.1 M
and 2318 G, 2220 G of them outside attention's own products.

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
    head = f"# Complexity at scale={found['scale']}\n\nOne image of {side}x{side}. "
    head += (
        "A MAC is a multiplication with its addition; products and convolutions are counted.\n\n"
    )
    unmerged = (
        f"\nLoRA of rank {lora['rank']}, {lora['params'] / 1e6:.3f} M, is merged for inference "
        "and then costs nothing. Unmerged it adds its parameters and "
        f"{_giga(lora['macs_unmerged'])[0]} GMACs.\n\n"
    )
    with open(TABLE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    published = markdown_table(
        ["method", "steps", "seconds", "parameters, M", "GMACs"],
        [
            [row[key] for key in ("method", "steps", "seconds", "params_m", "macs_g")]
            for row in rows
        ],
    )
    return head + _counted(found) + unmerged + _time(found["time"]) + _PUBLISHED + published
