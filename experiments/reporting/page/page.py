"""The whole page, from what is on disk."""

import shlex
from datetime import datetime
from pathlib import Path

from experiments.reporting.comparison import is_of_methods
from experiments.reporting.page.costs import costs_section
from experiments.reporting.page.curves import curves_section
from experiments.reporting.page.found import Found, read_folder
from experiments.reporting.page.gallery import gallery_section
from experiments.reporting.page.glance import glance
from experiments.reporting.page.markup import element, escape, folded, section, security_policy
from experiments.reporting.page.pictures import Budget
from experiments.reporting.page.settings import settings_section
from experiments.reporting.page.sliders import faces_section
from experiments.reporting.page.tables import (
    chip,
    measured_by,
    other_figures,
    published_section,
    results_table,
)
from experiments.reporting.page.trouble import trouble
from experiments.reporting.tables import duration
from experiments.reporting.variants import is_of_vre
from osdface.files import write_text

PAGE = "report.html"
# Characters of data URIs. With curves and text the page stays below 15 MB.
FACES_BUDGET, GALLERY_BUDGET = 8_000_000, 3_500_000
_NOSCRIPT = element(
    "noscript", element("p", "Faces and curves need JavaScript; figures do not.", class_="note")
)
_HERE = Path(__file__).parent
_SCRIPTS = ("curves.js", "script.js")
_TITLES = {
    "ablation_losses": "Ablation of the losses",
    "ablation_vre": "Ablation of the visual prompt",
    "compare_one_step": "One-step methods compared",
    "osdface": "Restorer (stage 2)",
    "vre": "Visual representation embedder (stage 1)",
    "vq_dictionary": "Dictionaries (stage 1)",
    "association": "Association (stage 1)",
}


def write_page(folder: str | Path, is_ablation: bool = False) -> Path:
    """Writes ``report.html`` of a run's folder, finished or not, and returns its path.

    Reads nothing but the folder (and ``references/`` above a variant's own); the page needs no
    other file and no network.

    Args:
        folder: The ``output_dir`` of a run or an ablation, or the folder of one variant.
        is_ablation: True for the folder of an ablation whose configuration is lost.

    Raises:
        UserError: It is no run's folder.
    """
    found = read_folder(folder, is_ablation)
    path = Path(folder) / PAGE
    write_text(path, page_html(found))
    return path


def page_html(found: Found) -> str:
    """Returns the page as HTML."""
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = "".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    sections = [
        ("Results", "results", results_section(found)),
        ("Costs", "costs", costs_section(found)),
        ("Faces", "faces", faces_section(found, Budget(FACES_BUDGET))),
        ("Curves", "curves", curves_section(found)),
        ("While training", "training", gallery_section(found, Budget(GALLERY_BUDGET))),
        ("How it was made", "settings", settings_section(found)),
        ("Published", "published", _published(found)),
    ]
    sections = [each for each in sections if each[2]]
    links = [element("a", escape(name), href=f"#{anchor}") for name, anchor, _ in sections]
    title = _TITLES.get(found.title, found.title)
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="'
        f'{escape(security_policy([script], [style]))}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        + element("title", escape(f"{title} · {found.folder.resolve().name}"))
        + f"<style>{style}</style>"
    )
    body = (
        element("header", element("h1", escape(title)), _facts(found))
        + element("nav", *links, aria_label="Parts of this page")
        + element("main", _NOSCRIPT, trouble(found), *(html for _, _, html in sections))
        + _footer(found)
        + f"<script>{script}</script>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def _facts(found: Found) -> str:
    config = found.config
    scale = config.get("scale")
    data = config.get("data")
    facts = [
        f"scale {scale.get('name')}" if isinstance(scale, dict) else "",
        f"{scale.get('resolution')} px" if isinstance(scale, dict) else "",
        f"data {data.get('kind')}" if isinstance(data, dict) else "",
        f"mode {config['mode']}" if config.get("mode", "fit") != "fit" else "",
        str(found.environment.get("started", ""))[:16].replace("T", " "),
    ]
    states = [row.status for row in found.rows]
    counts = {state: states.count(state) for state in dict.fromkeys(states)}
    chips = [
        chip(f"{state}" if len(states) == 1 else f"{state} {count}")
        for state, count in counts.items()
    ]
    seconds = sum(run.seconds for row in found.rows for run in row.runs)
    facts.append(f"{duration(seconds)} of training" if seconds else "")
    words = " · ".join(escape(fact) for fact in facts if fact)
    return element("p", *chips, " ", element("span", words), class_="facts")


def results_section(found: Found) -> str:
    """Returns all figures, in pictures and tables, with what measures them."""
    main, other = results_table(found), other_figures(found)
    if not main and not other:
        return ""
    notes = []
    if main and found.references:
        notes.append("Grey: references, trained on nothing here; an arrow stands beyond its axis.")
    if len(found.rows) > 1:
        notes.append("Bold: the best mean among the variants.")
    if any(len(row.finished) > 1 for row in found.rows):
        notes.append("After ± and as a bar: sample standard deviation over the seeds.")
    if any("(stand-in)" in text for text in found.specification.values()):
        notes.append(
            "Stand-in: measured by a small network of our own; such figures compare rows of this "
            "page and nothing else."
        )
    measured = measured_by(found)
    return section(
        "Results",
        "results",
        glance(found),
        main,
        other,
        folded("What measures the figures", measured) if measured else "",
        note=" ".join(map(escape, notes)),
    )


def _published(found: Found) -> str:
    other = is_of_vre(found.folder) or is_of_methods(found.folder)
    return published_section() if found.is_ablation and not other else ""


def _footer(found: Found) -> str:
    now = datetime.now().astimezone().isoformat(timespec="minutes")
    caution = (
        "A restored face is an estimate, not evidence: the model fills in what the picture does "
        "not hold."
    )
    again = shlex.join(["python", "-m", "experiments.report", f"run={found.folder}"])
    made = element("code", escape(again))
    made = element("p", f"Made {escape(now)} from what was on disk; again: {made}")
    return element("footer", element("p", caution), made)
