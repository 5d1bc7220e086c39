"""What of the server a visitor may reach.

Gradio's server does more than this page needs: it fetches addresses, takes recordings, passes
requests on. The gate lets through what the page uses, and refuses the rest before it gets there.
"""

import json
from pathlib import Path
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

API = "/gradio_api"
_PAGES = {"/", "/config", "/theme.css", "/manifest.json", "/favicon.ico", "/robots.txt"}
_PAGES |= {f"{API}/{name}" for name in (
    "theme.css", "queue/data", "upload_progress", "startup-events", "app_id", "info"
)}  # fmt: skip
_BELOW = ("/assets/", "/static/", "/svelte/", f"{API}/heartbeat/")
_FILE = f"{API}/file="
_JOIN, _UPLOAD = f"{API}/queue/join", f"{API}/upload"
_POSTS = {_JOIN, _UPLOAD, f"{API}/cancel", f"{API}/reset"}
_MOST_JSON = 2**18
_FORM_AROUND = 2**14  # of a form, around its file
_HEADERS = {
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' "
    "'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' "
    "data:; worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Gate:
    """ASGI middleware.

    Args:
        app: The server behind it.
        folder: The only one whose files are served or worked on.
        max_bytes: Of an uploaded file.
        hosts: Names by which the server may be addressed, against other websites that point a
            name of theirs here; None allows all.
    """

    def __init__(
        self, app: ASGIApp, folder: Path, max_bytes: int, hosts: frozenset[str] | None
    ) -> None:
        self.app, self.folder, self.max_bytes = app, folder.resolve(), max_bytes
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or lets it through with stricter headers on the way back."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {key.decode("latin1"): value.decode("latin1") for key, value in scope["headers"]}
        refused = self._refused(scope["method"], scope["path"], headers)
        if refused is None and scope["method"] == "POST" and scope["path"] == _JOIN:
            body = await _body(receive)
            refused = self._refused_order(body)
            receive = _again(body, receive)
        if refused is not None:
            status, sentence = refused
            await PlainTextResponse(sentence, status, headers=_HEADERS)(scope, receive, send)
            return

        async def stricter(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(key.encode(), value.encode()) for key, value in _HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        await self.app(scope, receive, stricter)

    def _refused(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        if self.hosts is not None and _host(headers.get("host", "")) not in self.hosts:
            return 400, "This server is not reached by that name."
        if method == "POST":
            return self._refused_post(path, headers)
        if method not in ("GET", "HEAD"):
            return 405, "This is not allowed."
        if path.startswith(_FILE):
            inside = self._is_ours(path.removeprefix(_FILE))
            return None if inside else (403, "There is no such file.")
        if path in _PAGES or (path.startswith(_BELOW) and ".." not in path):
            return None
        return 404, "There is no such page."

    def _refused_post(self, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        if path not in _POSTS:
            return 404, "There is no such page."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "This is not for other websites."
        most = self.max_bytes + _FORM_AROUND if path == _UPLOAD else _MOST_JSON
        length = headers.get("content-length", "")
        if not length.isdecimal():
            return 411, "The length of what is sent must be given."
        if int(length) > most:
            return 413, f"The file is too large: at most {self.max_bytes / 2**20:g} MiB."
        return None

    def _is_ours(self, name: str) -> bool:
        """Whether a path leads, all links followed, to a file below the folder."""
        try:
            path = Path(name).resolve(strict=True)
            return path.is_relative_to(self.folder) and path.is_file()
        except (OSError, ValueError, RuntimeError):
            return False

    def _refused_order(self, body: bytes) -> tuple[int, str] | None:
        try:
            named = list(_paths(json.loads(body)))
        except (ValueError, RecursionError):
            return 400, "This is no JSON."
        gone = [path for path in named if not _exists(path) and self._would_be_ours(path)]
        if all(path in gone or self._is_ours(path) for path in named):
            return None
        return 403, "There is no such file."

    def _would_be_ours(self, name: str) -> bool:
        """Whether a path that is not there, deleted perhaps, lies below the folder."""
        try:
            return Path(name).resolve().is_relative_to(self.folder)
        except (OSError, ValueError, RuntimeError):
            return False


def _exists(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _host(value: str) -> str:
    """The name in a Host header, without the port."""
    name, colon, port = value.rpartition(":")
    return name if colon and port.isdecimal() else value


def _paths(value: Any) -> Any:
    """Yields every text that Gradio would take for a file's path or address."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "path" and each is not None:
                yield str(each)
            yield from _paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _paths(each)


async def _body(receive: Receive) -> bytes:
    """Reads a request to its end; its length was checked, and servers hold senders to it."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives what was read, then goes on with the old one."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return pending.pop() if pending else await receive()

    return give
