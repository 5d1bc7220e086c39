"""The paper's tables from what is on disk: benchmarks, complexities, ablations."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datamodules.pairs import COUNTS
from experiments.baselines.method_files import OURS, shipped_methods
from experiments.baselines.paper import EXTRA, LAYOUTS, SOURCE, Column, published
from experiments.baselines.records import Record, read_records
from experiments.baselines.rows import MEASURED, Row, Table, paired_rows
from experiments.baselines.runs import TIMING, Run
from osdface.errors import UserError
from osdface.files import read_json

TABLE_OF = {"celeba_test": "1", "real_world": "2"}
COMPLEXITY = "complexity.json"  # {"params_total": a count, "macs_total": a count, ...}
_SIDE = 512  # pixels of the paper's table of complexities


def suite_table(records: Sequence[Record], which: str) -> Table:
    """Returns table 1 or 2 from benchmarks; of several with the same method the newest counts."""
    layout = LAYOUTS[which]
    records = [record for record in records if TABLE_OF[record.suite] == which]
    rows: dict[str, Row] = {}
    measures: dict[str, dict[str, Any]] = {}
    notes = [SOURCE]
    for record in records:
        prefix = f"{record.set}_" if record.set else ""
        measures |= {f"{prefix}{key}": each for key, each in record.measures.items()}
        for entry in record.entries.values():
            row = rows.setdefault(entry.name, Row(entry.name, MEASURED, entry.steps))
            _take_in(row, record, entry.run, prefix)
        if record.images != (whole := COUNTS[_set_of(record)]):
            notes.append(
                f"Measured on {record.images} images of {record.set or record.suite}, the paper's "
                f"set has {whole}: no difference to its figures is shown."
            )
    notes += [f"{row.method}: {row.note}." for row in rows.values() if row.note]
    foreign = {key for key, each in measures.items() if not each["comparable"]}
    stand_ins = sorted(key for key, each in measures.items() if "(stand-in)" in each["text"])
    columns = [_daggered(column, foreign) for column in layout.columns]
    columns += [each for each in EXTRA if any(each.key in row.values for row in rows.values())]
    if foreign & {column.key for column in columns}:
        notes.append("†: measured by other networks than the paper's; no difference is shown.")
    notes += [f"{key}: {each['text']}." for key, each in measures.items()]
    if any("seconds_per_image" in row.values for row in rows.values()):
        notes.append(TIMING + f" Machine: {records[-1].machine}.")
    title = f"{layout.title}, measured and published"
    if stand_ins:
        title += f" (stand-in networks measured {', '.join(stand_ins)})"
        for row in rows.values():
            parts = [row.note, f"stand-in networks: {' '.join(stand_ins)}" if row.values else ""]
            row.note = "; ".join(part for part in parts if part)
    lines = paired_rows(published(which), rows.values(), columns)
    return Table(title, tuple(columns), lines, notes)


def _set_of(record: Record) -> str:
    return f"{record.set}_test" if record.set else record.suite


def _take_in(row: Row, record: Record, run: Run, prefix: str) -> None:
    """Adds one benchmark's figures to a method's row."""
    row.values |= {f"{prefix}{key}": value for key, value in run.values.items()}
    if run.images == COUNTS[_set_of(record)]:
        row.comparable |= {f"{prefix}{k}" for k, m in record.measures.items() if m["comparable"]}
    if not record.set:
        timed = {"seconds_per_image": run.seconds_per_image}
        timed["loading_seconds"] = run.loading_seconds
        row.values |= {key: value for key, value in timed.items() if value is not None}
    status = _status(run)
    if record.set:
        row.status = f"{row.status}; {record.set}: {status}".removeprefix("; ")
    else:
        row.status, row.note = status, run.reason
        return
    row.note = f"{row.note} {record.set}: {run.reason}".strip() if run.reason else row.note


def _status(run: Run) -> str:
    if run.state not in ("done", "given"):
        return run.state
    of = "" if run.images == run.wanted else f"of {run.wanted} "
    return f"{run.images} {of}images"


def _daggered(column: Column, foreign: set[str]) -> Column:
    return replace(column, label=f"{column.label}†") if column.key in foreign else column


def complexity_table(runs: Path) -> Table:
    """Returns the complexity table: sizes by ``complexity.json``, times by benchmarks."""
    layout = LAYOUTS["complexity"]
    rows: dict[str, Row] = {}
    notes = [SOURCE, "DiffBIR's parameters are printed as 3.042 and read as 3,042 M."]
    for record in read_records(runs):
        for entry in record.entries.values():
            if (seconds := entry.run.seconds_per_image) is not None:
                row = rows.setdefault(entry.name, Row(entry.name, MEASURED, entry.steps))
                row.values["seconds"] = seconds
                notes.append(f"{entry.name}: s/image by {record.folder}, on {record.machine}.")
    for name, (path, sizes) in _counted(runs, notes).items():
        rows.setdefault(name, Row(name, MEASURED, _steps(name))).values |= sizes
        notes.append(f"{name}: parameters and MACs by {path}.")
    if any("seconds" in row.values for row in rows.values()):
        notes.append(TIMING + " On another machine than the paper's: no difference is shown.")
    for row in rows.values():
        row.status, row.comparable = MEASURED, {"params_m", "macs_g"}
    lines = paired_rows(published("complexity"), rows.values(), layout.columns)
    return Table(f"{layout.title}, measured and published", layout.columns, lines, notes)


def _counted(runs: Path, notes: list[str]) -> dict[str, tuple[Path, dict[str, float]]]:
    """Returns the newest file of each method, as the tables call it, and what it counts.

    Counts at another resolution than the paper's are only noted.
    """
    counted = {}
    for path in sorted(runs.rglob(COMPLEXITY), key=lambda path: (path.stat().st_mtime_ns, path)):
        method, side, sizes = _read_counts(path)
        if side == _SIDE:
            counted[method] = (path, sizes)
        else:
            notes.append(f"{path} is left out: it counts pictures of {side} px, the paper {_SIDE}.")
    return counted


def _steps(name: str) -> int | None:
    return next((each.steps for each in shipped_methods().values() if each.name == name), None)


def _read_counts(path: Path) -> tuple[str, int, dict[str, float]]:
    """Method, resolution and counts; a file that names neither is ours at the paper's size."""
    try:
        found = read_json(path)
        method = str(found.get("method", "osdface"))
        known = shipped_methods().get(OURS if method == "osdface" else method)
        sizes = {
            "params_m": float(found["params_total"]) / 1e6,
            "macs_g": float(found["macs_total"]) / 1e9,
        }
        return known.name if known else method, int(found.get("resolution", _SIDE)), sizes
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} cannot be read: it needs the numbers params_total and macs_total."
        ) from error


def tables_from_disk(which: str, runs: Path) -> list[Table]:
    """Returns the tables that ``table=`` names.

    Raises:
        UserError: There is nothing on disk for it.
    """
    if not runs.is_dir():
        raise UserError(f"runs={runs} is no folder.")
    if which.startswith("ablation"):
        # Only now: its reader is of no use to the others.
        from experiments.baselines.ablations import ablation_tables

        return ablation_tables(which, runs)
    if which == "complexity":
        return [complexity_table(runs)]
    return [suite_table(_of(read_records(runs), which, runs), which)]


def _of(records: Iterable[Record], which: str, runs: Path) -> list[Record]:
    found = [record for record in records if TABLE_OF.get(record.suite) == which]
    if not found:
        suite = next(name for name, table in TABLE_OF.items() if table == which)
        raise UserError(
            f"Below {runs} is no benchmark.json of suite={suite}: run "
            f"python -m experiments.benchmark suite={suite} first."
        )
    return found
