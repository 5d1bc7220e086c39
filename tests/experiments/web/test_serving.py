"""The server over HTTP: what it refuses, and what it leaves behind."""

import json
import os
import socket
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from experiments.web.files import sweep
from experiments.web.serving import Settings, free_port
from osdface.errors import UserError
from tests.experiments.web.conftest import portrait
from tests.experiments.web.malformed import encoded
from tests.experiments.web.talking import join, outputs, restored, send


@pytest.fixture
def client(address):
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.fixture
def face() -> bytes:
    from PIL import Image

    return encoded(Image.fromarray(portrait(1)), "PNG")


@pytest.fixture
def folder(client, face) -> Path:
    """The server's temporary folder."""
    path = Path(send(client, "face.png", face))
    return next(parent for parent in path.parents if parent.name.startswith("osdface-demo-"))


def raw(address: str, target: str, method: str = "GET", head: str = "") -> tuple[int, bytes]:
    """Sends a request whose path no library tidies up."""
    url = httpx.URL(address)
    host = f"{url.host}:{url.port}"
    with socket.create_connection((url.host, url.port)) as connection:
        host = "" if "Host:" in head else f"Host: {host}\r\n"
        request = f"{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{head}\r\n"
        connection.sendall(request.encode("utf-8", "surrogateescape"))
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1]), answer


ROOT = Path(__file__).resolve().parents[3]
OUTSIDE = [
    "/etc/passwd",
    "//etc/passwd",
    "/etc/../etc/passwd",
    "../../../../../../etc/passwd",
    "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "%2Fetc%2Fpasswd",
    "/proc/self/environ",
    "setup.cfg",
    "./setup.cfg",
    quote(str(ROOT / "setup.cfg")),
    "file:///etc/passwd",
    "http://127.0.0.1:1/secret",
    "https://example.com/",
    "/etc/passwd%00.png",
    "~/.bashrc",
    "",
    "/",
]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("route", ["gradio_api/file=", "file=", "gradio_api/file/"])
def test_no_file_outside_the_temporary_folder_is_served(address, path, route):
    status, answer = raw(address, f"/{route}{path}")
    assert status in (400, 403, 404)
    assert b"root:" not in answer and b"[options]" not in answer and b"PATH=" not in answer


@pytest.mark.parametrize("base", ["assets", "static", "svelte"])
@pytest.mark.parametrize("up", ["..", "%2e%2e", "..%2f..", "....//", "%2f"])
def test_the_pages_own_folders_have_no_way_out(address, base, up):
    for depth in (1, 4, 9):
        status, answer = raw(address, f"/{base}/{'/'.join([up] * depth)}/etc/passwd")
        assert status >= 400 and b"root:" not in answer


def test_links_out_of_the_temporary_folder_lead_nowhere(client, folder, face):
    own = send(client, "face.png", face)
    assert client.get(f"gradio_api/file={own}").content == face
    (folder / "secret").symlink_to("/etc/passwd")
    (folder / "all").symlink_to("/etc", target_is_directory=True)
    (folder / "loop").symlink_to(folder / "loop")
    for name in ("secret", "all/passwd", "all/../../etc/passwd", "loop", "../" + folder.name):
        assert client.get(f"gradio_api/file={folder}/{name}").status_code == 403, name
        answer, _ = join(client, f"{folder}/{name}")
        assert answer.status_code == 403, name


def test_odd_names_do_no_harm(client, face):
    for name in ("50%2f50 off.png", "a b&c?d#e.png", "../../x.png", "\u202e.png", "a" * 300):
        path = send(client, name, face)
        assert client.get(f"gradio_api/file={quote(path)}").content == face, name
        assert join(client, path)[0].status_code == 200, name
    assert client.post("gradio_api/upload", files={"files": ("..", face)}).status_code == 400


@pytest.mark.parametrize("path", ["/etc/passwd", "setup.cfg", "http://127.0.0.1:1/x", 7, ["/etc"]])
def test_no_file_outside_the_temporary_folder_is_restored(client, path):
    assert join(client, path)[0].status_code == 403


def test_a_photo_that_was_deleted_is_a_sentence(client, face):
    path = Path(send(client, "face.png", face))
    path.unlink()
    answer, session = join(client, str(path))
    assert answer.status_code == 200
    assert "no longer there" in outputs(client, session)[1]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "gradio_api/process_recording", 404),
        ("GET", "gradio_api/proxy=https://x.hf.space/", 404),
        ("GET", "gradio_api/vibe-code", 404),
        ("GET", "gradio_api/runs", 404),
        ("GET", "monitoring/summary", 404),
        ("GET", "docs", 404),
        ("GET", "openapi.json", 404),
        ("POST", "gradio_api/run/restore", 404),
        ("POST", "gradio_api/component_server", 404),
        ("DELETE", "", 405),
        ("PUT", "gradio_api/upload", 405),
    ],
)
def test_what_the_page_does_not_need_is_not_there(client, method, path, status):
    assert client.request(method, path, content=b"").status_code == status


def test_what_is_said_wrongly_is_refused_in_words(client, address):
    for body in (b"{", b"[" * 200_000, b"\xff", b'{"data": [], "fn_index": 10000}', b"[]"):
        answer = client.post(
            "gradio_api/queue/join", content=body, headers={"content-type": "application/json"}
        )
        assert answer.status_code >= 400 and b"Traceback" not in answer.content
    assert client.post("gradio_api/queue/join", content=b" " * 300_000).status_code == 413
    assert client.post("gradio_api/upload", content=b"x").status_code in (400, 422)
    status, _ = raw(address, "/gradio_api/upload", "POST", "Content-Length: 99999999\r\n")
    assert status == 413
    status, _ = raw(address, "/gradio_api/upload", "POST", "Transfer-Encoding: chunked\r\n")
    assert status == 411
    assert client.get("").status_code == 200


def test_other_websites_are_kept_out(client, address):
    assert raw(address, "/", head="Host: evil.example\r\n")[0] == 400
    assert raw(address, "/", head="Host: localhost:7860\r\n")[0] == 200
    foreign = {"sec-fetch-site": "cross-site"}
    assert client.post("gradio_api/queue/join", json={}, headers=foreign).status_code == 403
    answer = client.get("", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_metadata_of_a_photo_is_not_in_what_comes_back(client):
    from PIL import Image

    exif = Image.Exif()
    exif[0x010E], exif[0x8825] = "taken at home", {1: "N", 2: (52.0, 31.0, 12.0)}
    data = encoded(Image.fromarray(portrait(3, 128)), "JPEG", exif=exif)
    path = send(client, "home.jpg", data)
    _, session = join(client, path)
    found = outputs(client, session)
    for each in found[0]:
        body = client.get(f"gradio_api/file={each['path']}").content
        assert body.startswith(b"\x89PNG") and b"home" not in body
        assert {body[i + 4 : i + 8] for i in _chunks(body)} <= {b"IHDR", b"IDAT", b"IEND"}


def _chunks(png: bytes) -> list[int]:
    starts, place = [], 8
    while place < len(png):
        starts.append(place)
        place += 12 + int.from_bytes(png[place : place + 4], "big")
    return starts


def test_nothing_stays_in_the_folder(client, folder, face):
    restored(client, face)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert (os.stat(folder).st_mode & 0o077) == 0
    assert sweep(folder, 3600) == 0
    links = [path for path in folder.rglob("*") if path.is_symlink()]
    assert sweep(folder, -1) == len({*files, *links})
    assert not any(path.is_file() for path in folder.rglob("*"))
    assert list(folder.iterdir()) == []
    assert len(restored(client, face)) == 2


def test_the_server_sweeps_by_itself_and_ends_without_a_trace(studio, face):
    from experiments.web.serving import served

    before = dict(os.environ)
    with served(studio, Settings(port=0, keep_minutes=0.02)) as url:
        with httpx.Client(base_url=url, timeout=60) as client:
            path = Path(send(client, "face.png", face))
            assert len(restored(client, face)) == 2
            deadline = time.monotonic() + 20
            while path.exists() and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not path.exists()
        folder = path.parents[1]
        assert folder.is_dir()
    assert not folder.exists()
    assert dict(os.environ) == before
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_port_in_use_is_passed_over():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert port < free_port("127.0.0.1", port) < port + 20


@pytest.mark.parametrize(
    ("host", "port", "answer"),
    [
        ("no such host", 7860, "is no address"),
        ("::1", 7860, "IPv4"),
        ("203.0.113.7", 7860, "not an address of this machine"),
    ],
)
def test_an_address_that_is_none_is_a_sentence(host, port, answer):
    with pytest.raises(UserError, match=answer):
        free_port(host, port)


def test_all_ports_in_use_is_a_sentence(monkeypatch):
    monkeypatch.setattr("experiments.web.serving._PORTS_TRIED", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="in use"):
            free_port("127.0.0.1", taken.getsockname()[1])


def test_the_configuration_tells_nothing_of_the_server(client, folder):
    config = json.dumps(client.get("config").json())
    assert str(folder) not in config and str(ROOT) not in config and str(Path.home()) not in config
