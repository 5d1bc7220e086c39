"""From settings to the sources of training and validation samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datamodules.folders import FolderSource
from datamodules.records import Source, Subset
from datamodules.shards import TARGETS, Remote, ShardSource, split_urls
from datamodules.splits import held_out, identity_name
from osdface.errors import UserError

KINDS = ("portraits", "folder", "shards")


@dataclass(frozen=True)
class DataSettings:
    """Where the data are; the fields are those of :class:`~datamodules.faces.FaceDataModule`.

    Raises:
        UserError: Unknown kind or identity rule, or the place of the data is not given.
    """

    kind: str
    root: str | None = None
    urls: str | Sequence[str] | None = None
    val_urls: str | Sequence[str] | None = None
    val_fraction: float = 0.05
    val_count: int | None = None
    identity_from: str | None = "stem_prefix"
    data_seed: int = 0
    target: str = "original"
    remote: Remote = field(default_factory=Remote)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"data.kind is {self.kind!r}: choose one of {', '.join(KINDS)}.")
        identity_name("", self.identity_from)
        if self.kind == "folder" and not self.root:
            raise UserError("data.kind=folder needs data.root: give the folder of the images.")
        if self.target not in TARGETS:
            raise UserError(f"data.target is {self.target!r}: choose one of {', '.join(TARGETS)}.")
        if self.kind == "shards" and not (self.root or self.urls):
            raise UserError("data.kind=shards needs data.urls, or data.root with a manifest.")

    def rendered(self, folder: Path) -> "DataSettings":
        """Returns the settings for portraits that lie as shards in ``folder``."""
        return replace(self, kind="shards", root=str(folder), urls=None, val_urls=None)


def check_numbers(**values: float) -> None:
    """Raises UserError for a setting of the loader that is out of its range.

    Args:
        values: ``num_workers``, ``max_broken_share``, ``retries``, ``timeout``.
    """
    limits = {
        "num_workers": (0, 1024), "max_broken_share": (0, 1), "retries": (0, 1000),
        "timeout": (0.001, 1e6),
    }  # fmt: skip
    for name, value in values.items():
        low, high = limits[name]
        whole = name in ("num_workers", "retries")
        if not low <= value <= high or (whole and value != int(value)):
            kind = "a whole number" if whole else "a number"
            raise UserError(f"data.{name} is {value}: give {kind} from {low} to {high}.")


def open_sources(settings: DataSettings) -> tuple[Source, Source]:
    """Opens the training and the validation samples; nobody is in both where names tell people.

    A folder is split by :func:`~datamodules.splits.held_out`. Shards are split by ``val_urls``, or
    by their manifest where only ``root`` is given, or likewise by ``held_out``.

    Raises:
        UserError: Data missing or empty, or no validation sample.
    """
    if settings.kind == "folder":
        assert settings.root is not None
        return _split(FolderSource(settings.root, settings.identity_from), settings)
    urls, val_urls = settings.urls, settings.val_urls
    if urls is None:
        assert settings.root is not None
        urls = split_urls(settings.root, "train")
        val_urls = val_urls or split_urls(settings.root, "val")
    common = (settings.root, settings.identity_from, settings.target, settings.remote)
    training = ShardSource(urls, *common)
    if val_urls:
        return training, ShardSource(val_urls, *common)
    return _split(training, settings)


def damaged_shards(source: Source) -> dict[Path | str, str]:
    """Returns the shards of a source that are damaged or left out, with what is wrong."""
    while isinstance(source, Subset):
        source = source.source
    return source.damaged if isinstance(source, ShardSource) else {}


def _split(source: Source, settings: DataSettings) -> tuple[Source, Source]:
    training, validation = held_out(
        source.keys,
        settings.data_seed,
        settings.val_count,
        settings.val_fraction,
        settings.identity_from,
    )
    if not validation:
        raise UserError(
            f"No validation image among {len(source.keys)}: raise data.val_count or "
            "data.val_fraction."
        )
    return Subset(source, training), Subset(source, validation)
