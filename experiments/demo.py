"""Serves the web page of the restorer: ``python -m experiments.demo checkpoint=RUN/export``."""

import signal
import sys
import threading
from contextlib import suppress
from typing import Any

from experiments.cli.plain import Key, run_plain
from osdface.errors import UserError

KEYS = {
    "checkpoint": Key(
        "tiny", "what experiments.restore takes; several with commas; tiny is always there"
    ),
    "base": Key(None, "base in diffusers' layout; needed for the released files"),
    "weights_dir": Key(None, "folder of downloaded weight files; default $OSDFACE_WEIGHTS"),
    "host": Key("127.0.0.1", "address to listen on; 0.0.0.0 lets other machines in"),
    "port": Key(7860, "first port that is tried; 0: any"),
    "max_pixels": Key(12_000_000, "largest picture, width times height"),
    "keep_minutes": Key(30.0, "after which visitors' pictures are deleted"),
    "confidence": Key(0.9, "least confidence of a face, in (0, 1)"),
    "device": Key(None, "cuda, cuda:1, mps or cpu; default the first that is there"),
    "dtype": Key("float32", "of the large networks", ("float32", "bfloat16", "float16")),
}
HEAD = """\
usage: python -m experiments.demo [checkpoint=PATH,PATH ...] [key=value ...]

Serves a page: drop a photo, compare it with its restoration. Needs the extra demo (Gradio). It is
reached from this machine alone unless host= says otherwise; nothing is sent anywhere. Faces in
whole photos are found if weights_dir= holds a detector's weights. Ctrl-C ends it."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    return run_plain(argv or ["checkpoint=tiny"], HEAD, KEYS, work)


def work(values: dict[str, Any]) -> list[str]:
    """Serves until Ctrl-C; returns the closing line."""
    for name, low, high in (
        ("port", 0, 65535), ("max_pixels", 4096, 10**8), ("keep_minutes", 1, 10**5),
        ("confidence", 0.01, 0.99),
    ):  # fmt: skip
        if not low <= values[name] <= high:
            raise UserError(f"{name}={values[name]} is wrong: give {low} to {high}.")
    from experiments.web.serving import Settings, check_gradio, served
    from experiments.web.starting import open_studio

    check_gradio()  # before networks are loaded, which takes a while
    studio, notes = open_studio(values)
    with served(studio, Settings(values["host"], values["port"], values["keep_minutes"])) as url:
        print("\n".join([*notes, f"The page is at {url}", "Ctrl-C ends it."]), flush=True)
        with suppress(KeyboardInterrupt):
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            threading.Event().wait()
    return ["Closed; visitors' pictures are deleted."]


if __name__ == "__main__":
    sys.exit(main())
