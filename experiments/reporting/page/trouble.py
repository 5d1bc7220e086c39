"""What did not finish, and why."""

from pathlib import Path

from experiments.reporting.page.found import Found
from experiments.reporting.page.markup import code, element, escape, folded
from experiments.reporting.page.tables import chip
from experiments.reporting.records import SeedRun


def traceback_of(folder: Path, limit: int = 20_000) -> str:
    """Returns the end of a run's ``error.txt``, empty if there is none."""
    try:
        text = (folder / "error.txt").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text if len(text) <= limit else f"…{text[-limit:]}"


def trouble(found: Found) -> str:
    """Returns the box on what did not finish and why; empty where everything did."""
    items = []
    for row in found.rows:
        causes: dict[tuple[str, str], list[SeedRun]] = {}
        for run in row.runs:
            if not run.finished:
                causes.setdefault((run.status, run.reason or "no reason recorded"), []).append(run)
        for (status, reason), runs in causes.items():
            seeds = ", ".join(run.folder.name for run in runs) if len(row.runs) > 1 else ""
            name = element("strong", escape(f"{row.name} {seeds}".strip()))
            text = traceback_of(runs[0].folder)
            more = folded("Traceback", code(text)) if text else ""
            items.append(
                element("li", element("p", name, " ", chip(status), " ", escape(reason)), more)
            )
    items += [
        element("li", element("p", element("strong", escape(name)), " ", chip("not started")))
        for name in found.absent
    ]
    if not items:
        return ""
    return element(
        "aside", element("h2", "Not finished"), element("ul", *items), aria_label="Not finished"
    )
