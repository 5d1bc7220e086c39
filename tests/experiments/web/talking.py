"""What the page's scripts say to the server, said without a browser."""

import io
import json
import uuid
from typing import Any

import httpx
import numpy as np
from PIL import Image


def trigger(client: httpx.Client, text: str) -> int:
    """Returns the number of the event that the button of that text sets off."""
    config = client.get("config").json()
    (button,) = [c["id"] for c in config["components"] if c["props"].get("value") == text]
    found = [d["id"] for d in config["dependencies"] if [button, "click"] in d["targets"]]
    return found[0]


def send(client: httpx.Client, name: str, data: bytes) -> str:
    """Uploads a file and returns its path on the server."""
    answer = client.post("gradio_api/upload", files={"files": (name, data)})
    answer.raise_for_status()
    return answer.json()[0]


def join(client: httpx.Client, path: Any, **more: Any) -> tuple[httpx.Response, str]:
    """Presses "Restore" for a file, aligned and by tiny; returns the answer and the session."""
    session = uuid.uuid4().hex
    file = {"path": path, "orig_name": "face.png", "meta": {"_type": "gradio.FileData"}, **more}
    words = ["tiny (stand-in)", "A face fills it (aligned)", "none: the photo as it is"]
    body = {
        "data": [file, *words, 0.35, 0],
        "fn_index": trigger(client, "Restore"),
        "session_hash": session,
        "event_data": None,
    }
    return client.post("gradio_api/queue/join", json=body), session


def outputs(client: httpx.Client, session: str) -> list[Any] | None:
    """Waits for what a session's event gives; None after an error of the server."""
    with client.stream("GET", f"gradio_api/queue/data?session_hash={session}") as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line else {}
            if message.get("msg") == "process_completed":
                return message["output"]["data"] if message["success"] else None
    return None


def restored(client: httpx.Client, data: bytes) -> list[np.ndarray]:
    """Returns the pictures before and after that the page would show for a file's bytes."""
    answer, session = join(client, send(client, "face.png", data))
    answer.raise_for_status()
    found = outputs(client, session)
    assert found is not None
    bodies = [client.get(f"gradio_api/file={each['path']}").content for each in found[0]]
    return [np.asarray(Image.open(io.BytesIO(body))) for body in bodies]
