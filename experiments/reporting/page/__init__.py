"""``report.html``: one page of a run or an ablation, with everything that it shows inside."""

from experiments.reporting.page.page import PAGE, write_page

__all__ = ["PAGE", "write_page"]
