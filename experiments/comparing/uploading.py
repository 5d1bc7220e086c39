"""The comparison as a W&B run of type ``compare``: a table, the pictures, a summary."""

from collections.abc import Sequence
from pathlib import Path

import wandb

from callbacks.wandb_run import WandbRun
from experiments.comparing.differences import Group
from experiments.reporting.grids import read_picture
from experiments.reporting.records import METRICS
from experiments.sweeping.trials import as_word


def log(folder: Path, found: Sequence[Group], project: str, group: str | None) -> str:
    """Logs the comparison that lies in ``folder``; online with a key, else offline beside it.

    Returns:
        Where it went, one line.
    """
    name = f"compare {group or folder.name}"
    with WandbRun(folder, project, name, group, job_type="compare") as run:
        if run.run is None:
            return "W&B is disabled (WANDB_MODE)."
        run.log_values({"compare/table": table(found)}, 0)
        for picture in sorted(folder.glob("*.png")):
            if (pixels := read_picture(picture)) is not None:
                run.log_image(f"compare/{picture.stem}", pixels, 0)
        best = {
            f"best/{metric.name}": label
            for metric in METRICS
            if (label := _best(found, metric.name, metric.higher))
        }
        run.summarize({**best, "runs": sum(len(each.runs) for each in found)})
        address = getattr(run.run, "url", None)
    command = run.sync_command
    return f"W&B was offline; to upload: {command}" if command else f"W&B    {address}"


def table(found: Sequence[Group]) -> wandb.Table:
    """Returns a row a run: label, seed, status, the differing keys, the final figures."""
    keys = list(found[0].values)
    metrics = [metric.name for metric in METRICS]
    rows = [
        [group.label, str(run.seed), run.run.status, *(as_word(group.values[k]) for k in keys)]
        + [run.run.metrics.get(name) for name in metrics]
        for group in found
        for run in group.runs
    ]
    return wandb.Table(columns=["label", "seed", "status", *keys, *metrics], data=rows)


def _best(found: Sequence[Group], metric: str, higher: bool) -> str | None:
    means = {group.label: mean for group in found if (mean := group.row.mean(metric)) is not None}
    if not means:
        return None
    return (max if higher else min)(means, key=lambda label: means[label])
