"""The printed ``wandb sync`` command, run against a stand-in of W&B's server."""

import gzip
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from callbacks import WandbRun, sync_command


class Server(BaseHTTPRequestHandler):
    """Keeps one run's history by line number, as W&B's file stream does; knows nothing else."""

    protocol_version = "HTTP/1.1"
    history: list[str]  # set by the test

    def log_message(self, *_):
        """Is quiet."""

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self):
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def do_GET(self):
        self.answer({})

    def do_PUT(self):
        self.body()
        self.answer({})

    def do_POST(self):
        data = self.body()
        if "file_stream" in self.path:
            part = json.loads(data).get("files", {}).get("wandb-history.jsonl")
            if part:
                self.history[part["offset"] :] = part["content"]
            return self.answer({"limits": {}})
        query, values = json.loads(data)["query"], json.loads(data).get("variables", {})
        if "upsertBucket" in query:
            return self.answer({"data": {"upsertBucket": {"bucket": self.run(values["name"]),
                                                         "inserted": not self.history}}})  # fmt: skip
        if "RunResumeStatus" in query:
            found = self.run(values["name"]) if self.history else None
            entity = {"id": "e", "name": "me"}
            model = {"id": "p", "name": "osdface", "entity": entity, "bucket": found}
            return self.answer({"data": {"model": model}})
        if "createRunFiles" in query:
            url = f"http://127.0.0.1:{self.server.server_port}/"
            files = [{"name": name, "uploadUrl": url + name} for name in values["files"]]
            made = {"runID": "1", "uploadHeaders": [], "files": files}
            return self.answer({"data": {"createRunFiles": made}})
        return self.answer({"data": {}})

    def run(self, name):
        tail = json.dumps([self.history[-1]] if self.history else [])
        return {"__typename": "Run", "id": "1", "name": name, "displayName": name,
                "sweepName": None, "historyLineCount": len(self.history), "historyTail": tail,
                "eventsTail": "[]", "logLineCount": 0, "eventsLineCount": 0, "tags": [],
                "summaryMetrics": "{}", "config": "{}", "wandbConfig": '{"t":1}',
                "files": {"edges": []},
                "project": {"id": "p", "name": "osdface",
                            "entity": {"id": "e", "name": "me"}}}  # fmt: skip


@pytest.mark.slow
def test_three_parts_of_a_run_become_one_history(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for begin, end in ((1, 4), (4, 6), (6, 9)):
        with WandbRun(tmp_path / "run") as run:
            for step in range(begin, end):
                run.log_values({"loss": 10.0 * step}, step)
        time.sleep(1.1)  # W&B names the folders by the second
    program, *words = shlex.split(sync_command(tmp_path / "run"))
    assert len(words) == 1 + 3
    handler = type("Own", (Server,), {"history": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **os.environ,
        "WANDB_MODE": "online",
        "WANDB_API_KEY": "local-" + 40 * "0",
        "WANDB_BASE_URL": f"http://127.0.0.1:{server.server_port}",
    }
    command = [Path(sys.executable).with_name(program), *words]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in handler.history]
    # W&B drops a row whose own step is not above the last one's.
    assert [row["_step"] for row in rows] == list(range(8))
    assert [row["generator_step"] for row in rows] == list(range(1, 9))
    assert [row["loss"] for row in rows] == [10.0 * step for step in range(1, 9)]
