"""A W&B server of a few answers, and one that stops answering; a real client talks to it."""

import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def silent() -> socket.socket:
    """Returns a socket that takes connections and never says a word."""
    taken = socket.create_server(("127.0.0.1", 0), backlog=64)
    return taken


def refused() -> int:
    """Returns a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class Server(ThreadingHTTPServer):
    """Takes a run's start and its figures; after ``fall_silent`` it takes nothing more.

    Attributes:
        calls: Names of the operations and paths that were asked for.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.calls: list[str] = []
        self.over, self.ended = threading.Event(), threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def fall_silent(self) -> None:
        self.over.set()

    def close(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    def answer(self, operation: str, variables: dict) -> dict:
        entity = {"id": "ZQ==", "name": "me"}
        project = {"id": "cA==", "name": "osdface", "entity": entity}
        bucket = {"id": "cnVu", "name": variables.get("name"), "displayName": "run",
                  "description": None, "config": None, "sweepName": None, "project": project,
                  "historyLineCount": 0}  # fmt: skip
        address = f"http://127.0.0.1:{self.server_port}/upload/"
        files = [{"name": n, "uploadUrl": address + n} for n in variables.get("files", ())]
        known = {
            "RunResumeStatus": {"model": project | {"bucket": None}},
            "UpsertBucket": {"upsertBucket": {"bucket": bucket, "inserted": True}},
            "CreateRunFiles": {
                "createRunFiles": {"runID": "cnVu", "uploadHeaders": [], "files": files}
            },
            "ServerFeaturesQuery": {"serverInfo": {"features": []}},
        }
        return known.get(operation, {})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *arguments: object) -> None:
        """Nothing on the terminal."""

    def do_POST(self) -> None:
        if self.server.over.is_set():
            self.server.ended.wait(600)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found: dict = {}
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            matched = re.search(r"(?:query|mutation) (\w+)", asked["query"])
            operation = matched[1] if matched else ""
            self.server.calls.append(operation)
            found = {"data": self.server.answer(operation, asked.get("variables") or {})}
        else:
            self.server.calls.append(self.path)
        answer = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST
