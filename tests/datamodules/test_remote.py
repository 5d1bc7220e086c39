"""Remote shards give what local ones give, whatever the network does in between."""

import logging
import multiprocessing
import pickle
import shlex
from itertools import islice
from types import SimpleNamespace

import pytest
import torch
import torch.distributed

from datamodules.faces import FaceDataModule
from datamodules.records import BrokenSample
from datamodules.shards import Remote, ShardSource, expand_urls, http_shard, index_tar, write_shards
from datamodules.shards.index_file import write_index
from osdface.errors import UserError
from osdface.files import sha256_file

from .shard_server import serving

PATTERN = "train-{000000..000003}.tar"


@pytest.fixture
def shards(tmp_path, encoded):
    """Returns a folder with 18 samples in shards of 5."""
    root = tmp_path / "shards"
    write_shards(((f"p{n:04d}", encoded(n), {"n": n}) for n in range(18)), root, "train", 5)
    return root


def with_index(shards):
    for path in shards.glob("*.tar"):
        write_index(path, sha256_file(path))


@pytest.fixture
def remote(tmp_path):
    return Remote(tmp_path / "spool", retries=2, timeout=0.6)


def records(source):
    return [source.read(number) for number in range(len(source.keys))]


def open_remote(server, remote, pattern=PATTERN):
    urls = pattern if isinstance(pattern, list) else f"{server.url}/{pattern}"
    return ShardSource(urls, identity_from="none", remote=remote)


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_server_gives_what_the_folder_gives(shards, remote, ranges, indexed):
    local = ShardSource(PATTERN, shards, "none")
    if indexed:
        with_index(shards)
    with serving(shards, ranges) as server:
        source = open_remote(server, remote)
        assert source.keys == local.keys and records(source) == records(local)
        whole = [name for name, wanted in server.asked if name.endswith("r") and not wanted]
        assert len(whole) == (0 if ranges else 4)
    assert len(list(remote.spool.glob("*.tar"))) == (0 if ranges else 4)


def test_an_index_saves_reading_headers(shards, remote):
    with serving(shards) as server:
        open_remote(server, remote)
        without = sum(name.endswith(".tar") for name, _ in server.asked)
        with_index(shards)
        server.asked.clear()
        open_remote(server, remote)
        assert sum(name.endswith(".tar") for name, _ in server.asked) == 4 < without


def test_headers_of_a_shard_without_index_are_read_once(shards, remote, tmp_path, encoded):
    kept = Remote(remote.spool, indexes=tmp_path / "indexes")
    expected = ShardSource(PATTERN, shards, "none")

    def asked(server, urls=PATTERN):
        server.asked.clear()
        source = open_remote(server, kept, urls)
        return source, sum(name.startswith("train") and "tar" in name for name, _ in server.asked)

    with serving(shards) as server:
        assert asked(server)[1] > 4  # no tag, no time: nothing would tell a change
        assert not kept.indexes.exists() and asked(server)[1] > 4
        server.tags = True
        first, many = asked(server)
        second, few = asked(server)
        assert many > 4 == few and len(list(kept.indexes.iterdir())) == 4
        assert first.keys == second.keys == expected.keys
        assert records(second) == records(expected)
        assert first.fingerprint() == second.fingerprint()
        signed = [f"{server.url}/train-000000.tar?signature={n}" for n in "ab"]
        assert [asked(server, [url])[1] for url in signed] == [1, 1]
        write_shards([("new", encoded(99), {})], shards, "train", 5)  # the first is another now
        changed, again = asked(server)
        assert changed.keys == ["new", *expected.keys[5:]] and again > 4
        assert asked(server)[1] == 4
        for path in kept.indexes.iterdir():
            path.write_text("{")
        assert asked(server)[0].keys == changed.keys


def test_a_damaged_remote_shard_is_told_at_each_start(shards, remote, tmp_path, caplog):
    path = shards / "train-000001.tar"
    path.write_bytes(path.read_bytes()[: index_tar(path).members[-1].offset])
    kept = Remote(remote.spool, indexes=tmp_path / "indexes")
    with serving(shards) as server:
        server.tags = True
        for _ in range(2):
            caplog.clear()
            assert len(open_remote(server, kept).damaged) == 1 and "cut off" in caplog.text


def test_an_index_cache_that_cannot_be_written_is_told_once_a_shard(shards, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with serving(shards) as server:
        server.tags = True
        source = open_remote(server, Remote(tmp_path / "spool", indexes=tmp_path / "file" / "x"))
    assert len(source.keys) == 18 and caplog.text.count("cannot be kept") == 4


def test_an_index_of_another_shard_is_not_believed(shards, remote, encoded):
    expected = ShardSource(PATTERN, shards, "none").keys
    with_index(shards)
    for text in ("{", '{"version": 1, "bytes": 5, "members": []}'):
        (shards / "train-000000.idx").write_text(text)
        assert ShardSource(PATTERN, shards, "none").keys == expected
        with serving(shards) as server:
            assert open_remote(server, remote).keys == expected


@pytest.mark.parametrize("trouble", ["failures", "cut", "slow"])
@pytest.mark.parametrize("ranges", [True, False])
def test_what_fails_twice_is_asked_again(shards, remote, ranges, trouble, monkeypatch):
    expected = records(ShardSource(PATTERN, shards, "none"))
    monkeypatch.setattr(http_shard, "PAUSE", 0.01)
    with serving(shards, ranges) as server:
        getattr(server, trouble)["train-000002.tar"] = 2 if trouble != "slow" else 1
        source = open_remote(server, remote)
        getattr(server, trouble)["train-000001.tar"] = 2 if trouble != "slow" else 1
        assert records(source) == expected


def test_a_failing_read_breaks_the_sample_only(shards, remote):
    with serving(shards) as server:
        source = open_remote(server, remote)
        server.failures["train-000001.tar"] = 3
        with pytest.raises(BrokenSample, match=r"train-000001\.tar: HTTP 503"):
            source.read(7)
        assert source.read(7).labels["n"] == 7


def module(urls, tmp_path, **changes):
    settings = {
        "kind": "shards", "urls": urls, "resolution": 16, "batch_size": 2, "val_count": 4,
        "identity_from": "none", "cache_dir": str(tmp_path / "cache"), "retries": 1,
        "timeout": 2.0, "max_broken_share": 0.4, "degradation": "waveface",
    }  # fmt: skip
    return FaceDataModule(**settings | changes)


def pipes(shards):
    return f"pipe:cat {shlex.quote(str(shards))}/{PATTERN}"


@pytest.mark.parametrize("kind", ["ranges", "whole", "pipe"])
def test_training_order_and_resume_are_those_of_local_shards(shards, tmp_path, kind):
    expected = list(islice(module(f"{shards}/{PATTERN}", tmp_path).train_dataloader(), 12))
    with serving(shards, kind == "ranges") as server:
        urls = pipes(shards) if kind == "pipe" else f"{server.url}/{PATTERN}"
        first = module(urls, tmp_path, num_workers=2)
        for _ in zip(range(5), first.train_dataloader(), strict=False):
            first.batch_finished()
        second = module(urls, tmp_path, num_workers=1)
        second.load_state_dict(first.state_dict())
        found = list(islice(second.train_dataloader(), 7))
        assert [batch["key"] for batch in found] == [batch["key"] for batch in expected[5:]]
        for one, other in zip(found, expected[5:], strict=True):
            assert torch.equal(one["lq"], other["lq"]) and torch.equal(one["hq"], other["hq"])


def test_a_vanished_remote_shard_is_replaced_counted_and_remembered(shards, tmp_path, caplog):
    with serving(shards) as server, caplog.at_level(logging.WARNING):
        data = module(f"{server.url}/{PATTERN}", tmp_path)
        loader = iter(data.train_dataloader())
        last = shards / "train-000003.tar"
        content = last.read_bytes()
        last.unlink()
        for _ in range(7):
            assert len(next(loader)["key"]) == 2
            data.batch_finished()
        gone = {f"p{n:04d}" for n in (15, 16, 17)} & set(data.train_set.source.keys)
        assert set(data.broken_keys) == gone and "HTTP 404" in caplog.text
        last.write_bytes(content)  # it is back
        resumed = module(f"{shards}/{PATTERN}", tmp_path)
        resumed.load_state_dict(data.state_dict())
        assert set(resumed.broken_keys) == gone
        expected, found = (list(islice(each.train_dataloader(), 14)) for each in (data, resumed))
        assert [batch["key"] for batch in found] == [batch["key"] for batch in expected]


def test_above_the_share_it_stops_with_a_sentence(shards, tmp_path):
    with serving(shards) as server:
        data = module(f"{server.url}/{PATTERN}", tmp_path, max_broken_share=0.05)
        loader = iter(data.train_dataloader())
        for path in shards.glob("*.tar"):
            path.unlink()
        with pytest.raises(UserError, match=r"images cannot be read.*max_broken_share"):
            next(loader)


@pytest.mark.parametrize("kind", ["server", "pipe"])
def test_an_unreachable_shard_is_left_out_within_the_share(shards, remote, kind, caplog):
    (shards / "train-000002.tar").unlink()
    with serving(shards) as server:
        urls = pipes(shards) + " 2>&-" if kind == "pipe" else f"{server.url}/{PATTERN}"
        with pytest.raises(UserError, match=r"1 of 4 shards cannot be reached.*000002.tar"):
            ShardSource(urls, remote=remote)
        forgiving = Remote(remote.spool, 0, 1.0, max_lost_share=0.25)
        source = ShardSource(urls, remote=forgiving)
    assert len(source.keys) == 13 and len(source.damaged) == 1
    assert "left out" in caplog.text


def test_a_truncated_remote_tar_keeps_its_whole_samples(shards, remote):
    with_index(shards)
    path = shards / "train-000001.tar"
    path.write_bytes(path.read_bytes()[: index_tar(path).members[-1].offset])
    expected = ShardSource(PATTERN, shards, "none")
    with serving(shards) as server:
        source = open_remote(server, remote)
    assert source.keys == expected.keys and len(source.keys) == 17
    assert "cut off" in source.damaged[f"{server.url}/train-000001.tar"]


def test_pipes_are_read_once_and_their_failures_repeated(shards, tmp_path, remote):
    tar, log = shlex.quote(str(shards / "train-000000.tar")), tmp_path / "log"
    flaky = f"pipe:echo x >> {log}; test $(wc -l < {log}) -ge 3 && cat {tar}"
    source = ShardSource(flaky, remote=remote)
    assert len(source.keys) == 5 and len(log.read_text().split()) == 3
    assert records(ShardSource(flaky, remote=remote)) == records(source)
    assert len(log.read_text().split()) == 3
    with pytest.raises(UserError, match=r"no byte within 0\.6 s"):
        ShardSource("pipe:sleep 60", remote=Remote(remote.spool, 0, 0.6))
    assert not [path for path in remote.spool.iterdir() if path.name.startswith(".")]


def test_spool_that_cannot_be_written_is_told(shards, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="set cache_dir"):
        ShardSource(pipes(shards), remote=Remote(tmp_path / "file" / "spool"))


def test_a_manifest_on_a_server(shards, tmp_path):
    with serving(shards) as server:
        data = module(None, tmp_path, root=server.url)
        assert len(data.train_set) == 14
        assert data.train_set.source.source.keys == ShardSource(PATTERN, shards, "none").keys
        with pytest.raises(UserError, match=r"holds no manifest.json"):
            module(None, tmp_path, root=f"{server.url}/nowhere").setup()


def test_a_source_can_be_pickled_and_names_come_from_the_address(shards, remote):
    with serving(shards) as server:
        source = open_remote(server, remote)
        source.read(0)
        assert pickle.loads(pickle.dumps(source)).read(3) == source.read(3)
        signed = ShardSource(f"{server.url}/train-000000.tar?signature=a%2Fb", remote=remote)
        assert [shard.stem for shard in signed.shards] == ["train-000000"]
    assert expand_urls("pipe:cat {a,b}.tar") == ["pipe:cat a.tar", "pipe:cat b.tar"]


def _check_as_rank(rank, store, root, answers):
    """One of two processes that train; what it reaches is its own affair."""
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    data = module(f"{root}/train-*.tar", root)
    data.trainer = SimpleNamespace(world_size=2, global_rank=rank, accelerator=None)
    try:
        data.train_dataloader()
        answers.put("fine")
    except UserError as error:
        answers.put(str(error))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("equal", [True, False])
def test_processes_that_see_different_shards_stop(shards, tmp_path, encoded, equal):
    other = tmp_path / "other"
    samples = ((f"p{n:04d}", encoded(n), {"n": n}) for n in range(18 if equal else 15))
    write_shards(samples, other, "train", 5)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    jobs = [
        context.Process(target=_check_as_rank, args=(rank, tmp_path / "store", root, answers))
        for rank, root in enumerate((shards, other))
    ]
    for job in jobs:
        job.start()
    told = [answers.get(timeout=60) for _ in jobs]
    for job in jobs:
        job.join(60)
    assert all(("fine" if equal else "see different shards") in text for text in told), told
