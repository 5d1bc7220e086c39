"""From the words of the evaluation to its tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.cli.lock import FolderLock
from experiments.evaluation.options import allowed, check, listed
from experiments.evaluation.pairing import Pairs, find_pairs
from experiments.evaluation.plan import Measured
from experiments.evaluation.planning import (
    check_columns,
    figures_of,
    find_comparison,
    make_plan,
    specified,
)
from experiments.evaluation.processes import measure
from experiments.evaluation.results import Evaluation, write_grids
from experiments.evaluation.sets import RESTORED
from osdface.errors import UserError
from osdface.metrics.suites import SuiteSettings, chosen

CACHE = ".cache"
STATISTICS = "statistics.safetensors"


def work(values: Mapping[str, Any]) -> list[str]:
    """Measures and writes; returns the closing lines.

    Raises:
        UserError: The words make no sense, folders differ, or a weight file is missing.
    """
    check(values)
    output = Path(values["output_dir"]).expanduser().absolute()
    output.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(output)
    if not lock.acquire():
        raise UserError(f"Another process writes into {output}: wait for it.")
    try:
        return _evaluated(values, output)
    finally:
        lock.release()


def settings_of(values: Mapping[str, Any]) -> SuiteSettings:
    """Returns which networks the words name."""
    keys = ("perceptual", "lpips", "identity", "landmarks", "features", "weights_dir")
    return SuiteSettings(**{key: values[key] for key in keys})


def _evaluated(values: Mapping[str, Any], output: Path) -> list[str]:
    names = listed(values["metrics"]) if values["metrics"] else None
    columns = chosen(values["suite"], names)
    paired = bool(values["reference"])
    check_columns(columns, paired)
    settings = settings_of(values)
    comparison = find_comparison(columns, values["fid_reference"], settings)
    rests_on = specified(columns, settings, comparison, paired)  # what is missing is said here
    if foreign := [name for name, each in rests_on.items() if each.stand_in]:
        print(f"Stand-in networks measure {', '.join(foreign)}: no figures of the paper's.")
    pairs = find_pairs(values["restored"], values["reference"], values["suffix"])
    pairs.check(allowed(values), output)
    plan = make_plan(pairs.items, columns, settings, comparison, output / CACHE, values["batch"])
    measured = measure(plan, values["device"], values["processes"], values["progress"])
    for kind, told in measured.faults.items():
        pairs.faults[kind] += told
    pairs.check(allowed(values), output)
    evaluation = Evaluation(
        values["suite"],
        str(values["restored"]),
        values["reference"],
        len(measured.rows),
        figures_of(measured, plan, comparison),
        measured.rows,
        rests_on,
        {kind: told for kind, told in pairs.faults.items() if told},
    )
    return _closing(evaluation, pairs, measured, values, output)


def _closing(
    evaluation: Evaluation,
    pairs: Pairs,
    measured: Measured,
    values: Mapping[str, Any],
    output: Path,
) -> list[str]:
    grids = write_grids(evaluation, pairs.items, values["grid"], output)
    if values["save_statistics"] and RESTORED in measured.statistics:
        measured.statistics[RESTORED].save(output / STATISTICS)
    evaluation.write(output)
    lines = [
        f"{name:10} {value:.6g}" + (" (stand-in)" if name in evaluation.stand_ins else "")
        for name, value in evaluation.values.items()
    ]
    if values["wandb"]:
        # Only now: wandb takes seconds.
        from experiments.evaluation.logging import log_evaluation

        lines += log_evaluation(evaluation, grids, output)
    return [*lines, f"{evaluation.images} images", str(output)]
