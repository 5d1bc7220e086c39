"""``summary.md``: what ran, what failed, and what the variants gained over the references."""

from collections.abc import Sequence
from pathlib import Path

from experiments.reporting.page import PAGE
from experiments.reporting.records import METRICS, Metric, Row
from experiments.reporting.tables import duration, markdown_table

GAIN_METRICS = ("psnr", "perceptual", "identity")


def gain(metric: Metric, row: Row, reference: Row) -> str:
    """Returns how much better a variant is than a reference, signed so that + is better.

    With several seeds it says whether the gain exceeds their spread (largest minus smallest),
    which is a plain fact and no significance test.
    """
    mean, base = row.mean(metric.name), reference.mean(metric.name)
    if mean is None or base is None:
        return "–"
    better = (mean - base) * (1 if metric.higher else -1)
    text = f"{better:+.{metric.digits}f}"
    values = row.values(metric.name)
    if len(values) > 1:
        text += " >" if better > max(values) - min(values) else " ≤"
        text += f" {max(values) - min(values):.{metric.digits}f}"
    return text


def gains_table(row: Row, references: Sequence[Row]) -> str:
    """Returns a variant's gains over every reference."""
    metrics = [metric for metric in METRICS if metric.name in GAIN_METRICS]
    lines = [[ref.name, *(gain(metric, row, ref) for metric in metrics)] for ref in references]
    return markdown_table(["gain over", *(metric.label for metric in metrics)], lines)


def counts(variants: Sequence[Row], wanted: Sequence[str]) -> list[str]:
    """Returns one line each on what finished, failed, runs and has not started."""
    lines = []
    for status in ("finished", "partly failed", "failed", "running"):
        if names := [row.name for row in variants if row.status == status]:
            lines.append(f"- {status}: {', '.join(names)}")
    present = {row.name for row in variants}
    if absent := [name for name in wanted if name not in present]:
        lines.append(f"- not started: {', '.join(absent)}")
    seconds = sum(run.seconds for row in variants for run in row.runs)
    return [*lines, f"- training time in all: {duration(seconds)}"]


def summary_markdown(
    references: Sequence[Row],
    variants: Sequence[Row],
    wanted: Sequence[str],
    table: str,
    pictures: Sequence[Path],
    published: bool = True,
) -> str:
    """Returns the one page to read first."""
    parts = ["# Summary\n", f"To look at: [{PAGE}]({PAGE}), in a browser.\n"]
    parts += ["\n".join(counts(variants, wanted)) + "\n", table]
    reasons = [f"- `{row.name}`: {row.reason}" for row in variants if row.reason]
    if reasons:
        parts.append("## Not finished\n\n" + "\n".join(reasons) + "\n")
    whole = ("full", "distinct", "osdface")  # the method as published
    shown = next((row for row in variants if row.name in whole and row.finished), None)
    shown = shown or next((row for row in variants if row.finished), None)
    if shown and references:
        text = f"## What `{shown.name}` gains\n\nPositive is better."
        if len(shown.finished) > 1:
            text += " After > or ≤: the spread over the seeds (largest minus smallest)."
        parts.append(f"{text}\n\n{gains_table(shown, references)}")
    parts += [f"![{path.stem}]({path.name})\n" for path in pictures]
    if published:
        parts.append(
            "Published figures, not comparable with these: [published.md](published.md).\n"
        )
    return "\n".join(parts)
