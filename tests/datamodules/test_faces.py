"""The data module as a trainer uses it."""

import logging
import multiprocessing
import time
from itertools import islice

import pytest
import torch
from lightning import LightningModule, Trainer

from datamodules import portrait_shards
from datamodules.faces import FaceDataModule
from datamodules.portrait_shards import PortraitSettings, prepare_portraits
from datamodules.portraits import ATTRIBUTES, LANDMARK_NAMES, render_portrait
from osdface.errors import UserError
from osdface.files import read_json, sha256_file

PORTRAITS = {"identities": 4, "variations": 3, "val_identities": 2, "val_variations": 2}


def from_folder(folder, **changes):
    settings = {"kind": "folder", "root": str(folder), "resolution": 16, "batch_size": 4}
    return FaceDataModule(**settings | {"val_count": 6, "max_broken_share": 0.2} | changes)


def batches(module, count):
    return list(islice(module.train_dataloader(), count))


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys() and one["key"] == other["key"]
        for name in one.keys() - {"key"}:
            assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def test_portraits_end_to_end(cache):
    module = FaceDataModule(
        "portraits", resolution=32, batch_size=4, flip=False, with_attributes=True,
        cache_dir=cache, workers=2, data_seed=1, shard_size=5, num_workers=1, **PORTRAITS,
    )  # fmt: skip
    module.prepare_data()
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    assert batch["hq"].shape == batch["lq"].shape == (4, 3, 32, 32)
    assert batch["attributes"].shape == (4, len(ATTRIBUTES))
    assert batch["landmarks"].shape == (4, len(LANDMARK_NAMES), 2)
    for n, key in enumerate(batch["key"]):
        identity, variation = map(int, key.split("_"))
        portrait = render_portrait(1, identity, variation, 32)
        expected = torch.from_numpy(portrait.image).permute(2, 0, 1) / 127.5 - 1
        torch.testing.assert_close(batch["hq"][n], expected, atol=1e-6, rtol=0)
        assert batch["identity"][n] == identity < 4
        assert batch["attributes"][n].tolist() == [portrait.attributes[name] for name in ATTRIBUTES]
        expected = torch.from_numpy(portrait.landmarks)
        torch.testing.assert_close(batch["landmarks"][n], expected, atol=1e-3, rtol=0)
    held_out = [batch for batch in module.val_dataloader()]
    assert torch.cat([batch["identity"] for batch in held_out]).tolist() == [4, 4, 5, 5]


def test_portraits_are_rendered_once_and_alike_by_any_number_of_workers(cache, tmp_path):
    settings = PortraitSettings(32, 4, 3, 2, 2, seed=1, shard_size=5)
    folder = prepare_portraits(settings, cache, workers=2, progress=False)
    alone = prepare_portraits(settings, tmp_path, workers=1, progress=False)
    assert folder.name == alone.name
    assert read_json(folder / "manifest.json") == read_json(alone / "manifest.json")
    for shard in alone.glob("*.tar"):
        assert sha256_file(shard) == sha256_file(folder / shard.name)
    changed = (alone / "manifest.json").stat().st_mtime_ns
    prepare_portraits(settings, tmp_path, progress=False)
    assert (alone / "manifest.json").stat().st_mtime_ns == changed
    other = PortraitSettings(32, 4, 3, 2, 2, seed=2, shard_size=5)
    assert prepare_portraits(other, tmp_path, progress=False) != alone


def test_two_processes_at_once_render_once(tmp_path, monkeypatch):
    settings, log = PortraitSettings(32, 3, 2, 1, 1), tmp_path / "log"
    render = portrait_shards._render

    def logged(job):  # the processes are forked and so see it
        with open(log, "a") as file:
            file.write(f"{job}\n")
        return render(job)

    monkeypatch.setattr(portrait_shards, "_render", logged)
    jobs = [
        multiprocessing.get_context("fork").Process(
            target=prepare_portraits, args=(settings, tmp_path, 1, False)
        )
        for _ in range(2)
    ]
    for job in jobs:
        job.start()
        time.sleep(0.05)
    for job in jobs:
        job.join(60)
    assert [job.exitcode for job in jobs] == [0, 0]
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(log.read_text().splitlines()) == 3 * 2 + 1
    assert len(folders) == 1 and read_json(folders[0] / "manifest.json")["splits"]["train"]


def test_batches_do_not_depend_on_workers(folder):
    alone = from_folder(folder, num_workers=0)
    assert_equal(batches(alone, 8), batches(from_folder(folder, num_workers=2), 8))
    assert_equal(
        list(alone.val_dataloader()), list(from_folder(folder, num_workers=2).val_dataloader())
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_resuming_continues_after_the_finished_batches(folder, workers):
    whole = batches(from_folder(folder), 12)
    module = from_folder(folder, num_workers=workers)
    for _ in zip(range(7), module.train_dataloader(), strict=False):
        module.batch_finished()
    state = module.state_dict()
    resumed = from_folder(folder, num_workers=workers)
    resumed.load_state_dict(state)
    assert_equal(batches(resumed, 5), whole[7:])
    with pytest.raises(UserError, match="global batch"):
        from_folder(folder, batch_size=3).load_state_dict(state)


def test_splits_and_validation(folder):
    module = from_folder(folder)
    train, val = module.train_set.source.keys, module.val_set.source.keys
    assert len(train) == 24 and len(val) == 6
    assert not {key.split("_")[0] for key in train} & {key.split("_")[0] for key in val}
    other = from_folder(folder, seed=9)
    assert_equal(list(module.val_dataloader()), list(other.val_dataloader()))
    assert [b["key"] for b in batches(module, 3)] != [b["key"] for b in batches(other, 3)]
    shown = [key for batch in module.val_dataloader() for key in batch["key"]]
    assert shown == list(val)


def test_fingerprint(folder, encoded):
    first = from_folder(folder).fingerprint()
    assert first == from_folder(folder, seed=5, batch_size=2).fingerprint() and len(first) == 12
    assert first != from_folder(folder, resolution=24).fingerprint()
    assert first != from_folder(folder, degradation="codeformer").fingerprint()
    (folder / "new_0001.png").write_bytes(encoded(77))
    assert first != from_folder(folder).fingerprint()


def test_broken_image_keeps_the_number_of_batches(folder, caplog):
    (folder / f"{from_folder(folder).train_set.source.keys[3]}.png").write_bytes(b"x")
    module, other = from_folder(folder), from_folder(folder, num_workers=2)
    with caplog.at_level(logging.WARNING):
        alone = batches(module, 12)  # two epochs
    assert all(len(batch["key"]) == 4 for batch in alone)
    assert len(module.broken_keys) == 1 and caplog.text.count("is broken") == 1
    assert_equal(alone, batches(other, 12))
    assert other.broken_keys == module.broken_keys  # the workers' finding reaches this process


def test_shards_with_a_manifest_and_with_urls(cache, folder):
    root = prepare_portraits(
        PortraitSettings(32, 4, 3, 2, 2, seed=1, shard_size=5), cache, 1, False
    )
    by_manifest = FaceDataModule("shards", root=str(root), batch_size=4, resolution=32)
    assert (len(by_manifest.train_set), len(by_manifest.val_set)) == (12, 4)
    by_urls = FaceDataModule("shards", urls=f"{root}/train-*.tar", val_count=3, resolution=32)
    assert (len(by_urls.train_set), len(by_urls.val_set)) == (9, 3)
    two = FaceDataModule(
        "shards", root=str(root), urls="train-{000000..000001}.tar", val_urls=["val-000000.tar"],
        resolution=32,
    )  # fmt: skip
    assert (len(two.train_set), len(two.val_set)) == (10, 4)


class Recorder(LightningModule):
    """Trains nothing and notes what it is fed."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen, self.validated = [], []

    def training_step(self, batch, _):
        self.seen.append(batch["key"])
        return self.weight * batch["lq"].mean()

    def on_train_batch_end(self, *_):
        self.trainer.datamodule.batch_finished()

    def validation_step(self, batch, _):
        self.validated += batch["key"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(module, tmp_path, steps, checkpoint=None):
    recorder = Recorder()
    trainer = Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, val_check_interval=4, logger=False,
        check_val_every_n_epoch=None, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(recorder, module, ckpt_path=checkpoint)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return recorder


def test_validating_a_checkpoint_ignores_its_position(folder, tmp_path):
    fit(from_folder(folder), tmp_path, 2)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    recorder, module = Recorder(), from_folder(folder, batch_size=2, seed=8)
    trainer.validate(recorder, module, ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert recorder.validated == list(module.val_set.source.keys)


def test_a_trainer_counts_steps_over_epochs_and_resumes(folder, tmp_path):
    whole = fit(from_folder(folder), tmp_path, 15)  # an epoch has 6 batches
    assert whole.seen == [batch["key"] for batch in batches(from_folder(folder), 15)]
    assert sorted(whole.validated) == sorted(3 * from_folder(folder).val_set.source.keys)
    first = fit(from_folder(folder, num_workers=1), tmp_path, 7)
    second = fit(from_folder(folder, num_workers=1), tmp_path, 15, str(tmp_path / "last.ckpt"))
    assert first.seen + second.seen == whole.seen


def test_held_out_images_can_have_a_degradation_of_their_own(folder):
    """Those of training stay; the fingerprint tells the difference."""
    weak, strong = (
        from_folder(folder, degradation={"preset": "waveface", "strength_scale": scale})
        for scale in (0.1, 0.9)
    )
    mixed = from_folder(
        folder,
        degradation={"preset": "waveface", "strength_scale": 0.1},
        val_degradation={"preset": "waveface", "strength_scale": 0.9},
    )
    key = mixed.val_set.source.keys[0]
    low = {name: next(iter(data.val_dataloader())) for name, data in
           (("weak", weak), ("strong", strong), ("mixed", mixed))}  # fmt: skip
    assert key in low["mixed"]["key"]
    assert torch.equal(low["mixed"]["lq"], low["strong"]["lq"])
    assert not torch.equal(low["mixed"]["lq"], low["weak"]["lq"])
    first = [next(iter(data.train_dataloader())) for data in (weak, mixed)]
    assert first[0]["key"] == first[1]["key"] and torch.equal(first[0]["lq"], first[1]["lq"])
    assert len({data.fingerprint() for data in (weak, strong, mixed)}) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "files"}, "portraits, folder, shards"),
        ({"root": None}, "data.root"),
        ({"kind": "shards", "root": None}, "data.urls"),
        ({"degradation": "wavefce"}, "did you mean waveface"),
        ({"identity_from": "exif"}, "identity_from"),
        ({"with_attributes": True}, "with_attributes"),
        ({"kind": "portraits", "identities": 0}, "identities is 0"),
        ({"num_workers": -1}, "num_workers is -1: give a whole number from 0"),
        ({"num_workers": 1.5}, "num_workers is 1.5"),
        ({"max_broken_share": -0.1}, "max_broken_share is -0.1: give a number from 0 to 1"),
        ({"retries": -1}, "retries is -1"),
        ({"timeout": 0}, "timeout is 0"),
        ({"degradation": {"preset": "waveface", "then": "wavefce"}}, "did you mean waveface"),
    ],
)
def test_bad_settings_are_told_at_once(folder, changes, words):
    with pytest.raises(UserError, match=words):
        from_folder(folder, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"root": "/nowhere/at/all"}, "does not exist"),
        ({"batch_size": 25}, "24 training images"),
        ({"val_count": 30}, "val_count"),
        ({"val_count": 0}, "No validation image"),
        ({"kind": "shards", "urls": "nothing-*.tar"}, "No shard matches"),
        ({"kind": "shards"}, "manifest.json"),
    ],
)
def test_bad_data_are_told_in_setup(folder, changes, words):
    with pytest.raises(UserError, match=words):
        from_folder(folder, **changes).train_dataloader()


def test_unwritable_cache_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    module = FaceDataModule(resolution=32, cache_dir=str(tmp_path / "file"), **PORTRAITS)
    with pytest.raises(UserError, match="cannot be written"):
        module.prepare_data()
