"""The server: where it listens, what it may do, and what it leaves behind, which is nothing."""

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from experiments.web.files import sweep
from experiments.web.work import Studio
from osdface.errors import UserError

_PORTS_TRIED = 20
_LOOPBACK = ("127.0.0.1", "localhost")
MAX_UPLOAD = 25 * 2**20


@dataclass(frozen=True)
class Settings:
    """How the page is served.

    Attributes:
        host: Address to listen on.
        port: First one that is tried; 0 takes any.
        keep_minutes: After which pictures are deleted.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    keep_minutes: float = 30


def free_port(host: str, port: int) -> int:
    """Returns ``port`` or the next one that is free.

    Raises:
        UserError: None of them is, or this machine has no such address.
    """
    if ":" in host:
        raise UserError(f"host={host} is wrong: give an IPv4 address or a name.")
    tried = range(port, min(port + _PORTS_TRIED, 2**16)) if port else (0,)
    for each in tried:
        try:
            family, *_, address = socket.getaddrinfo(host, each, type=socket.SOCK_STREAM)[0]
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return int(probe.getsockname()[1])
        except socket.gaierror as error:
            raise UserError(f"host={host} is no address: try 127.0.0.1 or 0.0.0.0.") from error
        except PermissionError as error:
            raise UserError(f"port={each} is not for this user: give 1024 or more.") from error
        except OSError as error:
            if error.errno == 99:
                raise UserError(f"host={host} is not an address of this machine.") from error
    raise UserError(f"The ports {tried[0]} to {tried[-1]} are in use: give another port=.")


def _prepare(folder: Path) -> None:
    """Sets what Gradio reads from the environment when it is imported."""
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]  # they open folders, share the page, or let workers watch files
    os.environ.update(
        GRADIO_TEMP_DIR=str(folder),
        GRADIO_EXAMPLES_CACHE=str(folder),
        GRADIO_ANALYTICS_ENABLED="False",
        HF_HUB_DISABLE_TELEMETRY="1",
    )
    # Gradio asks itself over HTTP whether it is there: not through a proxy.
    here = [os.environ.get("NO_PROXY", ""), *_LOOPBACK]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(filter(None, here))


@contextmanager
def served(studio: Studio, settings: Settings) -> Iterator[str]:
    """Serves the page in threads of this process; yields its address.

    Raises:
        UserError: Gradio is not installed, or there is no free port.
    """
    check_gradio()
    folder = Path(tempfile.mkdtemp(prefix="osdface-demo-")).resolve()
    over, before = threading.Event(), dict(os.environ)
    try:
        _prepare(folder)
        from experiments.web.page import Page

        blocks = Page(studio, folder, settings.keep_minutes).build()
        port = free_port(settings.host, settings.port)
        keep = settings.keep_minutes * 60
        sweeper = threading.Thread(target=_sweep_on, args=(folder, keep, over), daemon=True)
        sweeper.start()
        try:
            yield _launch(blocks, folder, settings, port)
        finally:
            blocks.close(verbose=False)
    finally:
        over.set()
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(folder, ignore_errors=True)


def check_gradio() -> None:
    """Raises UserError where Gradio is not installed; imports nothing."""
    if find_spec("gradio") is None:
        raise UserError(
            "The page needs Gradio: install the extra demo, by make demo or by "
            "pip install 'osdface[demo]'."
        )


def _launch(blocks: Any, folder: Path, settings: Settings, port: int) -> str:
    import gradio as gr
    from starlette.middleware import Middleware

    from experiments.web.gate import Gate
    from experiments.web.texts import CSS

    hosts = frozenset((settings.host, *_LOOPBACK)) if settings.host in _LOOPBACK else None
    gate = Middleware(Gate, folder=folder, max_bytes=MAX_UPLOAD, hosts=hosts)
    fonts = ["system-ui", "sans-serif"]
    theme = gr.themes.Soft(
        primary_hue="teal", font=[gr.themes.Font(name) for name in fonts],
        font_mono=[gr.themes.Font("monospace")],
    )  # fmt: skip
    _, address, _ = blocks.launch(
        server_name=settings.host, server_port=port, theme=theme, css=CSS, share=False,
        prevent_thread_lock=True, quiet=True, footer_links=[], run_history=False, pwa=False,
        enable_monitoring=False, mcp_server=False, ssr_mode=False, allowed_paths=[],
        blocked_paths=[], show_error=False, max_file_size=MAX_UPLOAD,
        app_kwargs={"middleware": [gate], "docs_url": None, "redoc_url": None},
    )  # fmt: skip
    return address


def _sweep_on(folder: Path, seconds: float, over: threading.Event) -> None:
    while not over.wait(min(60, max(seconds / 4, 0.2))):
        sweep(folder, seconds)
