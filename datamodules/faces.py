"""The data module of all trainings: portraits, a folder of images, or shards."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from lightning.pytorch.accelerators import CUDAAccelerator
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.utils.data import DataLoader

from datamodules.dataset import FaceDataset
from datamodules.latents import LatentDataset
from datamodules.loading import batch_loader
from datamodules.portrait_shards import PORTRAIT_LABELS, PortraitSettings, prepare_portraits
from datamodules.progress import DataProgress, check_ranks_agree
from datamodules.samplers import EpochSampler, ValidationSampler
from datamodules.shards import Remote
from datamodules.sources import DataSettings, check_numbers, damaged_shards, open_sources
from osdface.degradation import build_degradation, stable_hash
from osdface.errors import UserError


class FaceDataModule(LightningDataModule):
    """Batches of degraded and original faces.

    A training batch depends on (seed, number of the batch) alone, so training is counted in batches
    and is resumed where the trainer stopped: call :meth:`batch_finished` after each batch. The
    training loader never ends; give the trainer a number of steps, and
    ``use_distributed_sampler=False``.

    Args:
        kind: "portraits" (rendered once into ``cache_dir``), "folder" (``root``) or "shards"
            (``urls``, or a manifest's splits below ``root``).
        root: Folder of images, or the folder that relative shard names are below.
        urls: Shards: path, glob, brace range, or a list of those.
        val_urls: Shards for validation; None holds out some of ``urls``.
        resolution: Side of the images in pixels.
        batch_size: Training samples a batch on one process.
        val_batch_size: Likewise for validation; None takes ``batch_size``.
        num_workers: Loader processes.
        degradation: Preset name or mapping, see :func:`osdface.degradation.build_degradation`.
        val_degradation: The same for held-out images; None takes ``degradation``.
        val_fraction: Share held out (people, where names tell them) if ``val_count`` is None.
        val_count: Number held out.
        identity_from: "stem_prefix" (``<identity>_<number>``) or "none".
        seed: Order, flips and training degradation.
        data_seed: Population of portraits, hold-out and validation degradation: the same for runs
            that differ in ``seed``, so that their figures compare.
        flip: Whether training images are mirrored at random.
        with_attributes: Whether batches carry ``attributes`` and ``landmarks`` (portraits).
        cache_dir: Folder of rendered portraits, of copies of shards that can only be read through
            (``pipe:``, servers without range requests), and of indexes of remote shards.
        identities, variations, val_identities, val_variations, shard_size: See
            :class:`~datamodules.portrait_shards.PortraitSettings`.
        workers: Processes that render.
        max_broken_share: Share of unreadable images above which training stops; likewise of shards
            that cannot be reached at the start.
        target: Which image is the training target where shards hold a retouched one beside the
            original: "original", "retouched", or "mix" for half of each. LQ is made of it.
        retries, timeout: How often a failing request for a remote shard is repeated, and the
            seconds after which one has failed.

    Raises:
        UserError: Bad settings here; missing or too few images in :meth:`setup`.
    """

    def __init__(
        self,
        kind: str = "portraits",
        root: str | None = None,
        urls: str | Sequence[str] | None = None,
        val_urls: str | Sequence[str] | None = None,
        resolution: int = 64,
        batch_size: int = 8,
        val_batch_size: int | None = None,
        num_workers: int = 0,
        degradation: str | Mapping[str, Any] = "waveface",
        val_fraction: float = 0.05,
        val_count: int | None = None,
        identity_from: str | None = "stem_prefix",
        seed: int = 0,
        data_seed: int = 0,
        flip: bool = True,
        with_attributes: bool = False,
        cache_dir: str = "cache",
        identities: int = 200,
        variations: int = 10,
        val_identities: int = 20,
        val_variations: int = 4,
        shard_size: int = 1000,
        workers: int = 1,
        max_broken_share: float = 0.05,
        target: str = "original",
        retries: int = 3,
        timeout: float = 30.0,
        val_degradation: str | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        check_numbers(
            num_workers=num_workers, max_broken_share=max_broken_share, retries=retries,
            timeout=timeout,
        )  # fmt: skip
        self.settings = DataSettings(
            kind, root, urls, val_urls, val_fraction, val_count, identity_from, data_seed,
            target,
            Remote(
                Path(cache_dir) / "spool", retries, timeout, max_broken_share,
                Path(cache_dir) / "indexes",
            ),
        )  # fmt: skip
        self.portraits = (
            PortraitSettings(
                resolution, identities, variations, val_identities, val_variations, data_seed,
                shard_size,
            )
            if kind == "portraits"
            else None
        )  # fmt: skip
        if with_attributes and kind == "folder":
            raise UserError("data.with_attributes needs portraits or shards: a folder has none.")
        self.degradation = build_degradation(degradation)
        self.val_degradation = build_degradation(val_degradation or degradation)
        self.resolution, self.flip = resolution, flip
        self.batch_size, self.val_batch_size = batch_size, val_batch_size or batch_size
        self.num_workers, self.workers = num_workers, workers
        self.seed, self.data_seed = seed, data_seed
        self.labels = PORTRAIT_LABELS if with_attributes else None
        self.cache_dir, self.max_broken_share = cache_dir, max_broken_share
        self._train: FaceDataset | None = None
        self._val: FaceDataset | None = None
        self._latents: dict[int, LatentDataset] = {}
        self._progress: DataProgress | None = None

    def prepare_data(self) -> None:
        """Renders the portraits if they are wanted and missing; called by one process a node."""
        if self.portraits is not None:
            prepare_portraits(self.portraits, self.cache_dir, self.workers)

    def setup(self, stage: str | None = None) -> None:
        """Opens the data and checks that they are enough."""
        if self._train is not None:
            return
        if self.portraits is not None:
            # Returns at once where prepare_data() has run on this node.
            folder: Path = prepare_portraits(self.portraits, self.cache_dir, self.workers)
            training, validation = open_sources(self.settings.rendered(folder))
        else:
            training, validation = open_sources(self.settings)
        share = self.max_broken_share
        self._train = FaceDataset(
            training, self.resolution, self.degradation, self.seed, self.flip, self.labels, share
        )
        self._val = FaceDataset(
            validation, self.resolution, self.val_degradation, self.data_seed, False, self.labels,
            share,
        )  # fmt: skip

    @property
    def train_set(self) -> FaceDataset:
        """The training pairs; sets the module up if need be."""
        self.setup()
        assert self._train is not None
        return self._train

    @property
    def val_set(self) -> FaceDataset:
        """The validation pairs; sets the module up if need be."""
        self.setup()
        assert self._val is not None
        return self._val

    def keep_latents(
        self, encode: Callable[[Tensor], Tensor], progress: bool = False, device: str = "cpu"
    ) -> None:
        """Encodes all images now; batches carry ``latent`` in place of ``hq`` and ``lq`` then.

        Args:
            encode: Maps (B, 3, R, R) in [-1, 1] on ``device`` to latents (B, C, h, w).
            progress: Whether a progress bar is shown.
            device: Where the images are encoded.
        """
        for faces in (self.train_set, self.val_set):
            kept = LatentDataset(faces, encode, progress=progress, device=device)
            self._latents[id(faces)] = kept

    @property
    def progress(self) -> DataProgress:
        """How far this process is in the training data, and what is broken there."""
        if self._progress is None:
            rank, world_size = self._ranks()
            sampler = EpochSampler(
                len(self.train_set), self.batch_size, self.seed, rank, world_size,
                guard=self.train_set.check_broken_share,
            )  # fmt: skip
            self._progress = DataProgress(sampler, self.train_set, self.val_set)
        return self._progress

    @property
    def sampler(self) -> EpochSampler:
        """The position in the training data on this process."""
        return self.progress.sampler

    @property
    def broken_keys(self) -> list[str]:
        """Keys of images found unreadable so far, by this process and by the others.

        Of the others it knows what they told, see :class:`~datamodules.progress.DataProgress`.
        """
        return sorted({*self.train_set.broken_keys, *self.val_set.broken_keys})

    @property
    def damaged_shards(self) -> list[str]:
        """Shards that were left out or of which only a part is used."""
        found = {**damaged_shards(self.train_set.source), **damaged_shards(self.val_set.source)}
        return sorted(map(str, found))

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Returns the endless loader, beginning after the batches that the trainer finished."""
        if self.trainer is not None and self.trainer.world_size > 1:
            connector = getattr(self.trainer, "_accelerator_connector", None)
            if getattr(connector, "use_distributed_sampler", False):
                raise UserError(
                    "Set trainer.use_distributed_sampler=false: the data module already gives each "
                    "process its own samples."
                )
            if self.settings.kind == "shards":
                check_ranks_agree(self.fingerprint())
        return self._loader(self.train_set, self.sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Returns the loader of all validation pairs, always the same."""
        sampler = ValidationSampler(len(self.val_set), self.val_batch_size, *self._ranks())
        return self._loader(self.val_set, sampler)

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Returns that of the validation pairs: there are no others."""
        return self.val_dataloader()

    def batch_finished(self) -> None:
        """Notes that the trainer is done with one more training batch; every process calls it."""
        self.progress.batch_finished()

    def state_dict(self) -> dict[str, Any]:
        """Returns the position, counted in batches that the trainer finished, and what is broken.

        Every process calls it, as Lightning does for a checkpoint: they tell each other.
        """
        return self.progress.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues there; raises UserError if data, seed or global batch differ.

        Lightning also calls this to validate or test a checkpoint, perhaps on other data: the
        position in the training data is of no interest then.
        """
        if self.trainer is None or self.trainer.state.fn in (None, TrainerFn.FITTING):
            self.progress.load_state_dict(state_dict)

    def fingerprint(self) -> str:
        """Returns 12 hex digits that change with the data, their split, size and degradation."""
        train, val = self.train_set.source.fingerprint(), self.val_set.source.fingerprint()
        parts: tuple[Any, ...] = (train, val, self.resolution, self.degradation, self.data_seed)
        if self.val_degradation != self.degradation:
            parts += (self.val_degradation,)
        return f"{stable_hash(*parts):032x}"[:12]

    def _ranks(self) -> tuple[int, int]:
        if self.trainer is None:
            return 0, 1
        return self.trainer.global_rank, self.trainer.world_size

    def _loader(self, dataset: FaceDataset, sampler: Any) -> DataLoader[dict[str, Any]]:
        kept = self._latents.get(id(dataset), dataset)
        return batch_loader(kept, sampler, self.num_workers, self._on_gpu())

    def _on_gpu(self) -> bool:
        return self.trainer is not None and isinstance(self.trainer.accelerator, CUDAAccelerator)
