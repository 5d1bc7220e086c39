"""Downloads: whole or absent, resumed, checked, one sentence for what goes wrong."""

import hashlib
import io
import os
import zipfile
from dataclasses import replace

import pytest

from osdface.errors import UserError
from osdface.paths import find_weight
from osdface.weights import download, transfer
from osdface.weights.download import fetch

from .conftest import DATA


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)


def files(root) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def test_a_file_lands_whole_below_its_place_and_is_then_found(server, weight, tmp_path) -> None:
    with pytest.raises(UserError, match="was not found"):
        find_weight("net.pth", tmp_path)
    seen = []
    path = fetch(weight, tmp_path, progress=lambda got, whole: seen.append((got, whole)))
    assert path == tmp_path / "nets/net.pth" and path.read_bytes() == DATA
    assert seen[-1] == (len(DATA), len(DATA)) and files(tmp_path) == ["net.pth"]
    assert find_weight("net.pth", tmp_path) == path


def test_a_broken_transfer_goes_on_by_ranges(server, weight, tmp_path) -> None:
    server.cut = 2
    assert fetch(weight, tmp_path).read_bytes() == DATA
    starts = [int(each.removeprefix("bytes=").rstrip("-")) for each in server.asked if each]
    assert server.asked[0] is None and len(starts) == 2
    assert starts == sorted(set(starts)) and 0 < starts[0] < starts[1] < len(DATA)


def test_after_giving_up_the_same_call_goes_on(server, weight, tmp_path) -> None:
    server.cut = 1
    with pytest.raises(UserError, match="repeat the command to go on") as error:
        fetch(weight, tmp_path, retries=0)
    assert "KiB on disk" in str(error.value) and weight.address in str(error.value)
    assert files(tmp_path) == ["net.pth.part"]
    had = (tmp_path / "nets/net.pth.part").stat().st_size
    assert 0 < had < len(DATA)
    assert fetch(weight, tmp_path).read_bytes() == DATA
    assert server.asked == [None, f"bytes={had}-"]


def test_a_server_without_ranges_sends_everything_again(server, weight, tmp_path) -> None:
    server.ranges, server.cut = False, 1
    assert fetch(weight, tmp_path).read_bytes() == DATA
    assert files(tmp_path) == ["net.pth"]


def test_a_part_that_is_whole_already_is_only_checked(server, weight, tmp_path) -> None:
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets/net.pth.part").write_bytes(DATA)
    assert fetch(weight, tmp_path).read_bytes() == DATA
    (tmp_path / "nets/net.pth").unlink()
    (tmp_path / "nets/net.pth.part").write_bytes(DATA + b"too long")
    assert fetch(weight, tmp_path).read_bytes() == DATA


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sha256": "ab" * 32}, "its SHA-256 is"),
        ({"sha256": "abcdef12", "size": None}, "abcdef12 is expected"),
        ({"size": 5}, "300,000 bytes where 5 are expected"),
    ],
)
def test_another_file_is_removed(server, weight, tmp_path, change, sentence) -> None:
    with pytest.raises(UserError, match=sentence):
        fetch(replace(weight, **change), tmp_path)
    assert files(tmp_path) == []


def test_the_first_digits_of_a_checksum_suffice(server, weight, tmp_path) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    assert fetch(replace(weight, sha256=digest[:8], size=None), tmp_path).is_file()


def test_passing_trouble_is_waited_out_and_a_refusal_is_not(server, weight, tmp_path) -> None:
    server.statuses = [503, 429]
    assert fetch(weight, tmp_path).is_file()
    server.asked.clear()
    with pytest.raises(UserError, match="HTTP 404"):
        fetch(replace(weight, address=f"{server.url}/gone.pth", name="gone.pth"), tmp_path)
    assert len(server.asked) == 1


def test_without_a_network_one_sentence_and_nothing_left(weight, tmp_path) -> None:
    for address in ("http://no-such-host.invalid/net.pth", "http://127.0.0.1:9/net.pth"):
        with pytest.raises(UserError, match="no network, or the server does not answer") as error:
            fetch(replace(weight, address=address), tmp_path)
        assert "\n" not in str(error.value) and "elsewhere and put it" in str(error.value)
    assert files(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(server, weight, tmp_path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(UserError, match=r"cannot be written \(Permission denied\)"):
            fetch(weight, tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_a_folder_that_cannot_be_made(server, weight, tmp_path) -> None:
    (tmp_path / "nets").touch()  # a file where the folder should be, for root as well
    with pytest.raises(UserError, match="cannot be written"):
        fetch(weight, tmp_path)


def test_two_processes_do_not_write_into_one_part(server, weight, tmp_path) -> None:
    (tmp_path / "nets").mkdir()
    with (
        download._opened(tmp_path / "nets/net.pth.part"),
        pytest.raises(UserError, match="Another process is fetching"),
    ):
        fetch(weight, tmp_path)


def test_one_file_out_of_an_archive(server, weight, tmp_path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("pack/net.pth", DATA)
        archive.writestr("pack/other.pth", b"other")
    server.files["pack.zip"] = buffer.getvalue()
    inside = replace(weight, address=f"{server.url}/pack.zip", member="net.pth")
    assert fetch(inside, tmp_path).read_bytes() == DATA
    assert files(tmp_path) == ["net.pth"]
    with pytest.raises(UserError, match="is another file"):
        fetch(replace(inside, member="other.pth", name="other.pth"), tmp_path)
    server.files["pack.zip"] = b"<html>"
    with pytest.raises(UserError, match="no ZIP archive"):
        fetch(replace(inside, name="third.pth"), tmp_path)
    assert files(tmp_path) == ["net.pth"]


def test_a_mirror_holds_files_by_name(server, weight, tmp_path) -> None:
    server.files["mirror/net.pth"] = DATA
    inside = replace(weight, address="https://nowhere.invalid/pack.zip", member="x.pth")
    assert fetch(inside, tmp_path, mirror=f"{server.url}/mirror/").read_bytes() == DATA
    with pytest.raises(UserError, match=r"begins with http\(s\)"):
        fetch(inside, tmp_path, mirror="ftp://host/dir")
    by_hand = replace(weight, by_hand=True)
    with pytest.raises(UserError, match="by a command"):
        fetch(by_hand, tmp_path)
