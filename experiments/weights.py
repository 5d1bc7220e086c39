"""Lists and fetches weight files: ``python -m experiments.weights [download=all|NAME]``."""

import sys
from typing import Any

from experiments.cli.guard import guarded
from experiments.cli.plain import Key, help_text, read_words
from osdface.errors import UserError

KEYS = {
    "weights_dir": Key(
        None, "folder of the weight files, searched through; default $OSDFACE_WEIGHTS"
    ),
    "download": Key(None, "all that can be fetched, a name, or several: NAME,NAME"),
    "mirror": Key(None, "address of a folder with the files, in place of the original addresses"),
    "verify": Key(False, "compare size and SHA-256 of the files that are there"),
    "format": Key("table", "how the list is printed", ("table", "json")),
}
HEAD = """\
usage: python -m experiments.weights [key=value ...]

Without download= it lists every weight file that a command of this project may need: size, licence,
address, place, SHA-256, who needs it, and whether it is there. A download that broke off goes on
when the command is repeated. Nothing else in this project fetches weights."""


def work(values: dict[str, Any]) -> list[str]:
    """Fetches or lists; returns the lines to print."""
    from experiments.weight_tools.fetching import chosen, fetch_all
    from experiments.weight_tools.listing import as_json, find_rows, summary, table
    from osdface.paths import weights_root

    root = weights_root(values["weights_dir"])
    if root and root.exists() and not root.is_dir():
        raise UserError(f"weights_dir={root} is a file: name a folder.")
    if values["download"]:
        weights = chosen(values["download"])
        if root is None:
            raise UserError("Where to? Give weights_dir=DIR, or set $OSDFACE_WEIGHTS.")
        return fetch_all(weights, root, values["mirror"])
    rows = find_rows(root, verify=values["verify"])
    if values["format"] == "json":
        return [as_json(rows)]
    return [table(rows, root), "", summary(rows, root)]


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status: 0 done, 2 a mistake, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        print(help_text(HEAD, KEYS))
        return 0

    def run() -> int:
        print("\n".join(work(read_words(argv, KEYS))), flush=True)
        return 0

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
