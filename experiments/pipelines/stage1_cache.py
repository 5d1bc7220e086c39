"""Stage 1 once for all runs that share its settings: a cache of export folders."""

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from datamodules.portrait_shards import portraits_dir
from datamodules.shards import MANIFEST
from experiments.cli.ranks import is_follower
from experiments.cli.srun import check_alone
from experiments.pipelines import stage1
from experiments.pipelines.build import device_count, plain
from osdface.checkpoints.export import FORMAT_VERSION
from osdface.errors import UserError, disk_full
from osdface.files import locked, sha256_file, write_json
from osdface.networks.base import folder_fingerprint
from osdface.networks.perceptual import find_trunk
from osdface.paths import find_weight
from osdface.run_folder import note_stage1


def cache_key(cfg: DictConfig, data_fingerprint: str, base_fingerprint: str) -> str:
    """Returns a hash of everything that stage 1's result depends on."""
    start = cfg.scale.vre.init_from
    found = find_weight(str(start), cfg.weights_dir) if start else None
    facts = {
        "format": FORMAT_VERSION,
        "vre": plain(cfg.scale.vre),
        "stage1": plain(cfg.scale.stage1),
        "start": folder_fingerprint(found) if found else None,
        "resolution": cfg.scale.resolution,
        "data": data_fingerprint,
        "strength_scale": cfg.data.degradation.strength_scale,
        "flip": cfg.data.flip,
        "base": base_fingerprint,
        "precision": cfg.trainer.precision,
        # Each process takes its own batch, so their number decides the global one.
        "processes": [device_count(cfg), cfg.trainer.num_nodes],
        "perceptual": sha256_file(find_trunk(cfg.scale.stage1.perceptual, cfg.weights_dir)),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _open(cfg: DictConfig, base_fingerprint: str) -> Path:
    data = stage1.build_data(cfg)
    data.prepare_data()
    key = cache_key(cfg, data.fingerprint(), base_fingerprint)
    return Path(cfg.cache_dir).absolute() / f"stage1-{key}"


def data_at_hand(cfg: DictConfig) -> bool:
    """Whether the data can be looked at here: neither to be rendered first nor remote."""
    data = stage1.build_data(cfg)
    if data.portraits is not None:
        return (portraits_dir(data.portraits, data.cache_dir) / MANIFEST).is_file()
    texts = map(str, filter(None, (cfg.data.get(name) for name in ("root", "urls", "val_urls"))))
    return not any("://" in text or "pipe:" in text for text in texts)


def cached_vre(cfg: DictConfig, base_fingerprint: str) -> Path | None:
    """Returns the export folder in the cache, None if there is none; trains nothing."""
    export = _open(cfg, base_fingerprint) / stage1.EXPORT
    return export if (export / "config.json").is_file() else None


def ensure_vre(cfg: DictConfig, base_fingerprint: str) -> Path:
    """Returns the export folder of ``vre.checkpoint``, of the cache, or of a new stage 1.

    Two processes that start at once train once: the second one waits. The training itself lives
    below the cache too, so that an interrupted one goes on.
    """
    if cfg.vre.checkpoint is not None:
        return find_weight(str(cfg.vre.checkpoint), cfg.weights_dir)
    folder = _open(cfg, base_fingerprint)
    if not is_follower():
        note_stage1(cfg.output_dir, folder)
    export = folder / stage1.EXPORT
    if (export / "config.json").is_file():
        print(f"Stage 1: cached in {export}", flush=True)
        return export
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".lock").touch()
    except OSError as error:
        if disk_full(error):
            raise
        raise UserError(
            f"Stage 1 cannot be trained in {folder} ({error.strerror}): set cache_dir to a folder "
            "that you may write to."
        ) from error
    # Lightning starts the other ranks while rank zero holds the lock: they train with it.
    with nullcontext() if is_follower() else locked(folder / ".lock"):
        if not (export / "config.json").is_file():
            # Preparing alone comes this far where stage 1 has vanished from the cache.
            check_alone(cfg.trainer.num_nodes, cfg.trainer.devices)
            # Stage 1 is shared by all seeds of stage 2, so it has one seed of its own.
            own = OmegaConf.merge(cfg, {"seed": cfg.scale.stage1.seed, "init_from": None})
            print(f"Stage 1: training in {folder}", flush=True)
            figures = stage1.run_vre(own, folder)
            if not is_follower():
                write_json(folder / "figures.json", figures)
    return export
