"""What a sweep has found so far: ``trials.csv``, ``summary.md``, ``sweep.png``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from callbacks.run_table import read_table
from experiments.reporting.records import METRICS, Row, SeedRun
from experiments.reporting.tables import csv_text, figure, markdown_table
from experiments.sweeping.books import Book, state
from experiments.sweeping.charts import sweep_chart
from experiments.sweeping.trials import Trial, as_word
from osdface.files import write_text

TABLE, SUMMARY, CHART = "trials.csv", "summary.md", "sweep.png"
# A trial differs from its repetition with another seed too.
_ONE_SEED = "It is one run: repeat the best few with other seeds before you believe their order.\n"


@dataclass
class Outcome:
    """A trial, how it stands (None: not begun), and its figure of the sweep's metric."""

    trial: Trial
    run: SeedRun | None
    value: float | None = None

    @property
    def status(self) -> str:
        return self.run.status if self.run else "not begun"


@dataclass
class Setting:
    """One choice of the parameters, over its seeds."""

    values: dict[str, Any]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def row(self) -> Row:
        runs = [outcome.run for outcome in self.outcomes if outcome.run]
        return Row(" ".join(f"{k}={as_word(v)}" for k, v in self.values.items()), runs)

    @property
    def mean(self) -> float | None:
        """The metric's mean over the finished seeds, None where one of them is not finite."""
        found = [outcome.value for outcome in self.outcomes if outcome.value is not None]
        if not found or not all(map(math.isfinite, found)):
            return None
        return sum(found) / len(found)

    @property
    def std(self) -> float | None:
        """The sample standard deviation over the finished seeds, None for fewer than two."""
        found = [outcome.value for outcome in self.outcomes if outcome.value is not None]
        if len(found) < 2 or self.mean is None:
            return None
        return math.sqrt(sum((each - self.mean) ** 2 for each in found) / (len(found) - 1))


def metric_value(run: SeedRun, metric: str) -> float | None:
    """Returns a finished run's figure: of the last validation, or the last one that was logged."""
    name = metric.removeprefix("val/").removeprefix("final/")
    if name in run.metrics:
        return run.metrics[name]
    logged = [row[metric] for row in read_table(run.folder / "metrics.csv") if metric in row]
    return float(logged[-1]) if logged else None


def read_outcomes(book: Book) -> list[Outcome]:
    """Returns how every trial stands."""
    found = []
    for trial in book.trials():
        run = state(book, trial)
        value = None
        if run is not None and run.finished and book.definition.metric:
            value = metric_value(run, book.definition.metric)
        found.append(Outcome(trial, run, value))
    return found


def ranked(book: Book, outcomes: Sequence[Outcome]) -> list[Setting]:
    """Returns the settings, the best mean first; those without a figure stand last."""
    settings: dict[str, Setting] = {}
    for outcome in outcomes:
        values = {each.name: outcome.trial.values[each.name] for each in book.definition.settings}
        settings.setdefault(repr(values), Setting(values)).outcomes.append(outcome)
    sign = 1 if book.definition.goal == "minimize" else -1

    def order(setting: Setting) -> float:
        return math.inf if setting.mean is None else sign * setting.mean

    return sorted(settings.values(), key=order)


def best_of(book: Book, outcomes: Sequence[Outcome]) -> Setting | None:
    """Returns the best setting so far, None where none has a figure."""
    first = next(iter(ranked(book, outcomes)), None)
    return first if first is not None and first.mean is not None else None


def write_results(book: Book) -> list[Outcome]:
    """Writes the tables and the picture of a sweep from what is on disk, whatever has finished."""
    outcomes = read_outcomes(book)
    write_text(book.folder / TABLE, trials_csv(book, outcomes))
    drawn = sweep_chart(
        book.folder / CHART,
        book.definition,
        [(o.trial.values, o.value) for o in outcomes if o.value is not None],
    )
    write_text(book.folder / SUMMARY, summary(book, outcomes, drawn))
    return outcomes


def trials_csv(book: Book, outcomes: Sequence[Outcome]) -> str:
    """Returns a line a trial: status, the varied values, every figure, steps, seconds, reason."""
    varied = [parameter.name for parameter in book.definition.varied]
    measured = {name for o in outcomes if o.run for name in o.run.metrics}
    known = [metric.name for metric in METRICS if metric.name in measured]
    figures = [*known, *sorted(measured - set(known))]
    chosen = [book.definition.metric] if book.definition.metric else []
    rows: list[dict[str, object]] = []
    for outcome in outcomes:
        row: dict[str, object] = {"trial": outcome.trial.name, "status": outcome.status}
        row |= {name: as_word(outcome.trial.values[name]) for name in varied}
        row |= {name: outcome.value for name in chosen}
        if outcome.run:
            row |= outcome.run.metrics
            row |= {"steps": outcome.run.step, "seconds": outcome.run.seconds}
            row["reason"] = outcome.run.reason
        rows.append(row)
    columns = ["trial", "status", *varied, *chosen, *figures, "steps", "seconds", "reason"]
    return csv_text(columns, rows)


def summary(book: Book, outcomes: Sequence[Outcome], drawn: bool) -> str:
    """Returns ``summary.md``: the best setting, then all of them by rank, then what failed."""
    definition = book.definition
    states = [outcome.status for outcome in outcomes]
    counts = ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(sorted(states)))
    goal = f"{definition.metric} ({definition.goal})" if definition.metric else "no metric"
    parts = [f"# Sweep {definition.name}\n", f"{definition.method}, {goal}; {counts}.\n"]
    parts += [_best(book, outcomes), _table(book, outcomes)]
    if drawn:
        parts.append(f"![{CHART}]({CHART})\n")
    missing = [
        f"- `{o.trial.name}` ({o.status}): {o.run.reason}"
        for o in outcomes
        if o.run and not o.run.finished
    ]
    if missing:
        parts.append("## Not finished\n\n" + "\n".join(missing) + "\n")
    return "\n".join(part for part in parts if part)


def _best(book: Book, outcomes: Sequence[Outcome]) -> str:
    best, metric = best_of(book, outcomes), book.definition.metric
    if best is not None:
        trials = ", ".join(o.trial.name for o in best.outcomes if o.value is not None)
        seeds = f" over {len(best.row.finished)} seeds" if len(best.row.finished) > 1 else ""
        return (
            f"Best so far: `{best.row.name}` with {metric} {figure(best.mean, best.std)}{seeds} "
            f"({trials}).\n{'' if seeds else _ONE_SEED}"
        )
    done = next((o.run for o in outcomes if o.run and o.run.finished), None)
    if done is None or metric is None:
        return ""
    return f"No trial measured {metric}; there are: {', '.join(sorted(done.metrics))}.\n"


def _table(book: Book, outcomes: Sequence[Outcome]) -> str:
    names = [parameter.name for parameter in book.definition.settings]
    settings = ranked(book, outcomes)
    metrics = [m for m in METRICS if any(setting.row.values(m.name) for setting in settings)]
    # A metric of the tables is not shown twice.
    chosen = book.definition.metric
    own = (
        [chosen] if chosen and chosen.removeprefix("val/") not in {m.name for m in metrics} else []
    )
    lines = []
    for rank, setting in enumerate(settings, 1):
        row = setting.row
        first = str(rank) if setting.mean is not None else "–"
        lines.append([first, *(as_word(setting.values[name]) for name in names)])
        lines[-1] += [figure(setting.mean, setting.std) for _ in own]
        lines[-1] += [figure(row.mean(m.name), row.std(m.name), m.digits) for m in metrics]
        done = len([o for o in setting.outcomes if o.status == "finished"])
        lines[-1] += [f"{done}/{len(setting.outcomes)}"]
        lines[-1] += [", ".join(o.trial.name.removeprefix("trial-") for o in setting.outcomes)]
    header = [
        "rank",
        *names,
        *own,
        *(f"{m.label} {m.arrow}" for m in metrics),
        "finished",
        "trials",
    ]
    return markdown_table(header, lines, numbers=1)
