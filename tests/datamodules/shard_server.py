"""A small web server for tests: ranges or none, failures on demand, and a log of what was asked."""

import re
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class ShardServer(ThreadingHTTPServer):
    """Serves a folder.

    Attributes:
        ranges: Whether range requests are answered.
        failures: File name -> how many of its next requests fail with status 503.
        cut: File name -> how many of its next answers end in the middle.
        slow: File name -> how many of its next answers come too late.
        asked: (file name, Range header) of every request.
        tags: Whether answers carry an entity tag, which changes with the content.
    """

    daemon_threads = True

    def __init__(self, folder: Path, ranges: bool) -> None:
        super().__init__(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.ranges, self.tags = ranges, False
        self.failures: Counter[str] = Counter()
        self.cut: Counter[str] = Counter()
        self.slow: Counter[str] = Counter()
        self.asked: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """A client that hung up is no news."""


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ShardServer

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        name, wanted = self.path.rpartition("/")[2], self.headers.get("Range")
        self.server.asked.append((name, wanted))
        if self._due(self.server.failures, name):
            return self.send_error(503)
        if self._due(self.server.slow, name):
            time.sleep(0.9)
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            return self.send_error(404)
        data, status = path.read_bytes(), 200
        total = len(data)
        if wanted and self.server.ranges:
            first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", wanted).groups())
            if first >= total:
                return self.send_error(416)
            data, status = data[first : last + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{total}")
        if self.server.tags:
            self.send_header("ETag", f'"{zlib.crc32(path.read_bytes()):08x}"')
        self.end_headers()
        if self._due(self.server.cut, name):
            data, self.close_connection = data[: len(data) // 2], True
        self.wfile.write(data)

    @staticmethod
    def _due(counter: Counter[str], name: str) -> bool:
        counter[name] -= 1
        return counter[name] >= 0


@contextmanager
def serving(folder: Path, ranges: bool = True) -> Iterator[ShardServer]:
    """Serves a folder on a free port until the block ends."""
    with ShardServer(folder, ranges) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()
