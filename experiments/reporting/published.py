"""The paper's own tables: the loss ablation, kept apart from ours, and what methods cost."""

import csv
from pathlib import Path

from experiments.reporting.tables import markdown_table

TABLE = Path(__file__).parent / "published" / "ablation_losses.csv"
COMPLEXITY = Path(__file__).parent / "published" / "complexity.csv"
# Name of a method in conf/method -> of its row in the paper's table of costs.
COMPLEXITY_ROWS = {
    "osdface": "OSDFace",
    "osdface_osediff_losses": "OSDFace",
    "osediff": "OSEDiff",
    "osediff_face": "OSEDiff",
}
COLUMNS = (
    ("clipiqa", "CLIP-IQA ↑"),
    ("maniqa", "MANIQA ↑"),
    ("musiq", "MUSIQ ↑"),
    ("niqe", "NIQE ↓"),
    ("fid", "FID ↓"),
)
TEXT = """# Published loss ablation

J. Wang, J. Gong, L. Zhang, Z. Chen, X. Liu, H. Gu, Y. Liu, Y. Zhang, X. Yang: *OSDFace: One-Step
Diffusion Model for Face Restoration*, CVPR 2025, arXiv:2411.17163; figures from the paper's poster.

The rows switch L_ID, L_EA-DISTS, L_G and L_EA-LPIPS on and off around MSE at full size. Which terms
a row uses is not legible in our source, so the rows stand by number; the last one is the published
model. They were measured on other images, by other networks and at another size than `ablation.md`:
no row here corresponds to a row there.

"""


def published_rows() -> list[dict[str, str]]:
    """Returns the published rows as text, by number; the last one is the published model."""
    with open(TABLE, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[-1]["row"] += " (published model)"
    return rows


def published_markdown() -> str:
    """Returns ``published.md``: the published rows by number, never beside ours."""
    lines = [[row["row"], *(row[key] for key, _ in COLUMNS)] for row in published_rows()]
    return TEXT + markdown_table(["row", *(label for _, label in COLUMNS)], lines)


def complexity_rows() -> dict[str, dict[str, str]]:
    """Returns the paper's table of costs by the names of its methods, figures as text."""
    with open(COMPLEXITY, newline="", encoding="utf-8") as file:
        return {row["method"]: row for row in csv.DictReader(file)}
