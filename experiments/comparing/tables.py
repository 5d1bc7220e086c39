"""``compare.md``, ``compare.csv`` and ``runs.csv``."""

import statistics
from collections.abc import Mapping, Sequence

from callbacks.run_table import read_table
from experiments.comparing.collecting import Found
from experiments.comparing.differences import ABSENT, Group
from experiments.reporting.ablation import ablation_csv, ablation_table
from experiments.reporting.records import METRICS, Metric, Row
from experiments.reporting.summary import GAIN_METRICS
from experiments.reporting.tables import csv_text, figure, markdown_table
from experiments.sweeping.trials import as_word

_KEYS_SHOWN = 40
INPUT = "degraded"


def reference_rows(groups: Sequence[Group], same: bool) -> list[Row]:
    """Returns the reference rows that all groups share, none where they differ."""
    first = next((run for group in groups for run in group.runs if run.rows), None)
    if first is None or not same:
        return []
    # An untrained generator is one of its run's seed and model.
    return [
        Row(name, reference=dict(row)) for name, row in first.rows.items() if name != "untrained"
    ]


def last_figures(run: Found) -> dict[str, float]:
    """Returns a run's figures: the final ones, or of an unfinished run those logged last."""
    if run.run.finished:
        return run.run.metrics
    found: dict[str, float] = {}
    for row in read_table(run.folder / "metrics.csv"):
        found |= {k[4:]: float(v) for k, v in row.items() if k.startswith("val/")}
    return found


def runs_csv(groups: Sequence[Group], keys: Sequence[str]) -> str:
    """Returns a line a run: where it is, what it differs in, how far it came, its figures."""
    everything = [(group, run) for group in groups for run in group.runs]
    measured = {name for _, run in everything for name in last_figures(run)}
    known = [metric.name for metric in METRICS if metric.name in measured]
    figures = [*known, *sorted(measured - set(known))]
    rows: list[dict[str, object]] = []
    for group, run in everything:
        row: dict[str, object] = {"label": group.label, "seed": run.seed, "status": run.run.status}
        row |= {key: as_word(group.values[key]) for key in keys}
        row |= {name: value for name, value in last_figures(run).items() if name in figures}
        row |= {"steps": run.run.step, "seconds": run.run.seconds}
        rows.append(row | {"reason": run.run.reason, "folder": run.folder})
    head = ["label", "seed", "status", *keys]
    return csv_text([*head, *figures, "steps", "seconds", "reason", "folder"], rows)


def compare_csv(groups: Sequence[Group], references: Sequence[Row]) -> str:
    """Returns the table of means as CSV, in the columns of an ablation's."""
    return ablation_csv([*references, *(group.row for group in groups)])


def gains_table(groups: Sequence[Group]) -> str:
    """Returns what each group gains over its own degraded inputs; empty without references."""
    metrics = [metric for metric in METRICS if metric.name in GAIN_METRICS]
    lines = []
    for group in groups:
        cells = [_gain(group, metric) for metric in metrics]
        if any(cell != "–" for cell in cells):
            lines.append([group.label, *cells])
    if not lines:
        return ""
    head = ["gain over its own input", *(metric.label for metric in metrics)]
    return markdown_table(head, lines)


def _gain(group: Group, metric: Metric) -> str:
    gains = [
        (run.run.metrics[metric.name] - run.rows[INPUT][metric.name]) * (1 if metric.higher else -1)
        for run in group.runs
        if metric.name in run.run.metrics and metric.name in run.rows.get(INPUT, {})
    ]
    if not gains:
        return "–"
    spread = f" ± {statistics.stdev(gains):.{metric.digits}f}" if len(gains) > 1 else ""
    return f"{statistics.fmean(gains):+.{metric.digits}f}{spread}"


def differences_table(groups: Sequence[Group], keys: Sequence[str]) -> str:
    """Returns what each group's configuration has in the keys that differ."""
    if not keys:
        return "The configurations are equal but for the seed.\n"
    lines = [
        [key, *(_cell(group.values.get(key, ABSENT)) for group in groups)]
        for key in keys[:_KEYS_SHOWN]
    ]
    more = len(keys) - _KEYS_SHOWN
    note = f"\nand {more} more keys: see runs.csv.\n" if more > 0 else ""
    return markdown_table(["key", *(group.label for group in groups)], lines) + note


def _cell(value: object) -> str:
    text = as_word(value)
    return text if len(text) <= _KEYS_SHOWN else f"…{text[1 - _KEYS_SHOWN :]}"


def specification_lines(groups: Sequence[Group]) -> str:
    """Returns what measures each figure, where all runs agree on it."""
    tables = [run.specification for group in groups for run in group.runs if run.specification]
    first: Mapping[str, str] = tables[0] if tables else {}
    agreed = {k: v for k, v in first.items() if all(table.get(k) == v for table in tables)}
    lines = [f"- {metric}: {text}" for metric, text in agreed.items()]
    return "What measures the figures:\n\n" + "\n".join(lines) + "\n" if lines else ""


def unfinished_lines(groups: Sequence[Group]) -> str:
    """Returns how far the runs without final figures came, and what they had then."""
    lines = []
    for group in groups:
        for run in group.runs:
            if run.run.finished:
                continue
            last = last_figures(run)
            had = ", ".join(
                f"{metric.label} {figure(last[metric.name], digits=metric.digits)}"
                for metric in METRICS
                if metric.name in last and metric.name in GAIN_METRICS
            )
            at = f"; its last validation: {had}" if had else ""
            lines.append(
                f"- `{group.label}` seed {run.seed} ({run.run.status}): {run.run.reason}{at}"
            )
    return "## Not finished\n\n" + "\n".join(lines) + "\n" if lines else ""


def _legend(rows: Sequence[Row], references: Sequence[Row]) -> str:
    text = "Bold: best mean among the groups."
    if references:
        text += " Italic: references, trained on nothing here."
    if any(len(row.finished) > 1 for row in rows):
        text += " After ±: sample standard deviation over the seeds."
    return text + "\n"


def compare_markdown(
    title: str,
    groups: Sequence[Group],
    keys: Sequence[str],
    references: Sequence[Row],
    warnings: Sequence[str],
    notes: Sequence[str],
    pictures: Sequence[str],
) -> str:
    """Returns the page to read first."""
    rows = [group.row for group in groups]
    count = sum(len(group.runs) for group in groups)
    parts = [f"# {title}\n", f"{count} runs in {len(groups)} groups.\n"]
    if warnings:
        parts.append("## Mind\n\n" + "\n".join(f"- {each}" for each in warnings) + "\n")
    parts.append(f"## Figures\n\n{ablation_table(references, rows)}\n{_legend(rows, references)}")
    if gains := gains_table(groups):
        parts.append(f"Positive is better; the input is {INPUT}, not restored.\n\n{gains}")
    parts += [specification_lines(groups), unfinished_lines(groups)]
    parts.append(f"## What differs\n\n{differences_table(groups, keys)}")
    if notes:
        parts.append("\n".join(f"- {each}" for each in notes) + "\n")
    parts += [f"![{name}]({name})\n" for name in pictures]
    return "\n".join(part for part in parts if part)
