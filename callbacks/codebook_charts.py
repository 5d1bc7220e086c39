"""Charts of a dictionary: how often entries are used, token similarity, curves over training."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from callbacks.drawing import draw_grid, to_uint8
from callbacks.run_table import Row, read_table
from osdface.networks.quantizer import codebook_health

ACROSS = 8
COLOURS = {"hq": "tab:blue", "lq": "tab:orange"}
# Panel -> (key in metrics.csv, label, colour, line style).
PANELS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    "usage (share of entries)": tuple(
        (f"val/{domain}/usage", domain.upper(), colour, "-") for domain, colour in COLOURS.items()
    ),
    "perplexity (entries)": tuple(
        (f"val/{domain}/perplexity", domain.upper(), colour, "-")
        for domain, colour in COLOURS.items()
    ),
    "PSNR, dB (dotted: mean image)": tuple(
        (f"val/{domain}/{key}", name, colour, style)
        for domain, colour in COLOURS.items()
        for key, name, style in (
            ("psnr", domain.upper(), "-"),
            ("psnr_mean_image", f"{domain.upper()} mean image", ":"),
        )
    ),
    "association (share of tokens)": (
        ("val/association/top1_hq_to_lq", "top-1 HQ to LQ", "tab:green", "-"),
        ("val/association/top1_lq_to_hq", "top-1 LQ to HQ", "tab:red", "--"),
        ("val/association/diagonal_share", "diagonal share", "black", ":"),
    ),
}


def figure_bytes(figure: Figure) -> np.ndarray:
    """Draws a figure to (H, W, 3) bytes; needs no display, leaves matplotlib's state alone."""
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(110)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _figure(width: float, height: float, panels: int = 1) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(width * panels, height), layout="constrained")
    axes = list(np.atleast_1d(figure.subplots(1, panels)).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def usage_chart(name: str, counts: np.ndarray) -> np.ndarray:
    """Draws how many tokens chose each entry, (K,), most used first, on a log axis."""
    health = codebook_health(torch.as_tensor(counts))
    ordered = np.sort(counts)[::-1]
    used = int((ordered > 0).sum())
    figure, (axis,) = _figure(6.4, 3.6)
    if used:
        # One patch: a bar for each entry would take a third of a second.
        axis.stairs(ordered[:used], baseline=0.5, fill=True, color=COLOURS.get(name, "gray"))
        axis.axhline(ordered.sum() / len(ordered), color="black", linestyle=":", linewidth=1)
        axis.set_yscale("log")
        axis.set_ylim(bottom=0.7)
    axis.axvspan(used, len(ordered), color="0.9")
    axis.set_xlim(0, len(ordered))
    axis.set_xlabel("entries, most used first (gray: dead)", fontsize=8)
    axis.set_ylabel("tokens (dotted: equal use)", fontsize=8)
    axis.set_title(
        f"{name.upper()} dictionary: usage {health['usage']:.1%}, perplexity "
        f"{health['perplexity']:.0f} of {len(ordered)},\n{health['dead_entries']:.0f} dead "
        f"entries, entropy {health['entropy']:.2f} of {np.log(len(ordered)):.2f} nats",
        fontsize=10,
    )
    return figure_bytes(figure)


def entries_sheet(counts: np.ndarray, swatches: Any) -> np.ndarray:
    """Draws decoded entries (n, 3, h, w) in [-1, 1] in rows of eight, most used first.

    Left of each row stands the share of all tokens that chose one of its entries.
    """
    shares = np.sort(counts)[::-1][: len(swatches)] / max(float(counts.sum()), 1.0)
    pictures = to_uint8(swatches)
    columns = [(f"+{place}", list(pictures[place::ACROSS])) for place in range(ACROSS)]
    firsts = range(0, len(pictures), ACROSS)
    labels = [f"{first + 1}: {shares[first : first + ACROSS].sum():.1%}" for first in firsts]
    return draw_grid(columns, labels, minimum_cell=64, empty_note="")


def similarity_chart(similarity: np.ndarray, figures: dict[str, float]) -> np.ndarray:
    """Draws the mean cosine of HQ token i and LQ token j of the same image, (N, N)."""
    figure, (axis,) = _figure(5.6, 5.0)
    image = axis.imshow(similarity, cmap="viridis", interpolation="nearest")
    figure.colorbar(image, ax=axis, label="cosine, mean over validation images", shrink=0.85)
    axis.set_xlabel("place of the LQ token", fontsize=8)
    axis.set_ylabel("place of the HQ token", fontsize=8)
    share = figures.get("association/diagonal_share", float("nan"))
    contrast = figures.get("association/diagonal_contrast", float("nan"))
    axis.set_title(
        f"HQ-LQ tokens: diagonal share {share:.3f} (by chance {1 / len(similarity):.3f}),\n"
        f"cosine on less off the diagonal {contrast:.3f}",
        fontsize=10,
    )
    return figure_bytes(figure)


def _curve(rows: list[Row], key: str) -> tuple[list[int], list[float]]:
    pairs = [(int(row["step"]), float(row[key])) for row in rows if key in row]
    return [step for step, _ in pairs], [value for _, value in pairs]


def convergence_chart(metrics: str | Path) -> np.ndarray | None:
    """Draws a run's validations over its steps from ``metrics.csv``; None if there are none."""
    rows = read_table(metrics)
    panels = {
        title: found
        for title, lines in PANELS.items()
        if (found := [line for line in lines if _curve(rows, line[0])[0]])
    }
    if not panels:
        return None
    figure, axes = _figure(4.2, 3.2, len(panels))
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for key, label, colour, style in lines:
            steps, values = _curve(rows, key)
            axis.plot(steps, values, style, color=colour, label=label, marker=".")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("generator step", fontsize=8)
        axis.grid(alpha=0.25)
        axis.legend(fontsize=7, frameon=False)
    return figure_bytes(figure)
