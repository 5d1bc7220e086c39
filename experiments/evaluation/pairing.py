"""Which image belongs to which original: paired by stem, every difference named."""

import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from experiments.evaluation.images import ImageFile, find_images
from experiments.evaluation.options import KINDS
from osdface.errors import UserError
from osdface.files import write_text

DIFFERENCES = "differences.txt"


@dataclass(frozen=True)
class Item:
    """An image to be measured, by its key (the stem without suffix), and its original."""

    key: str
    restored: ImageFile
    reference: ImageFile | None = None

    @property
    def images(self) -> tuple[ImageFile, ...]:
        """The image, and its original where there is one."""
        return (self.restored, self.reference) if self.reference else (self.restored,)


@dataclass
class Pairs:
    """What can be measured, and what differs: kind of :data:`KINDS` -> sentences.

    ``suffix`` is what seems to be behind all stems of the restored images; empty if nothing is.
    """

    items: list[Item]
    faults: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    suffix: str = ""

    def check(self, allow: Collection[str], output: Path) -> None:
        """Writes what differs into a file of ``output``.

        Raises:
            UserError: Something differs that is not allowed, or nothing is left.
        """
        found = {kind: names for kind, names in self.faults.items() if names}
        path = output / DIFFERENCES
        if not found:
            path.unlink(missing_ok=True)
        else:
            lines = [f"{kind}: {name}" for kind, names in found.items() for name in names]
            write_text(path, "\n".join(lines) + "\n")
        refused = [kind for kind in found if kind not in allow]
        if refused:
            told = "; ".join(f"{len(found[k])} {k} ({found[k][0]})" for k in refused)
            raise UserError(
                f"The folders differ: {told}. All are listed in {path}; allow={','.join(refused)} "
                "leaves them out." + (f" Should it be suffix={self.suffix}?" if self.suffix else "")
            )
        if not self.items:
            raise UserError("No image is left that could be measured.")


def find_pairs(restored: str | Path, reference: str | Path | None, suffix: str | None) -> Pairs:
    """Pairs two sets of images by stem; without a reference every image stands alone.

    Only heads of files are read: an image that is cut off is found when it is measured.

    Args:
        restored: Folder or shards of the restored images
            (:func:`~experiments.evaluation.images.find_images`).
        reference: Those of the originals.
        suffix: What the restored images' stems end in, besides.

    Raises:
        UserError: One is missing, empty, or holds two pictures of one stem.
    """
    pairs = Pairs([])
    images, damage = find_images(restored, "restored")
    pairs.faults["unreadable"] += damage
    originals = None
    if reference:
        originals, damage = find_images(reference, "reference")
        pairs.faults["unreadable"] += damage
    seen: set[str] = set()
    for stem, image in images.items():
        key = stem.removesuffix(suffix or "")
        strange = not stem.endswith(suffix or "") or key in seen
        if strange or (originals is not None and key not in originals):
            pairs.faults["extra"].append(_short(image))
            continue
        seen.add(key)
        item = Item(key, image, originals[key] if originals else None)
        if _judge(item, pairs):
            pairs.items.append(item)
    lacking = [image for key, image in (originals or {}).items() if key not in seen]
    pairs.faults["missing"] = [_short(image) for image in lacking]
    if not pairs.items and not suffix:
        pairs.suffix = _common_suffix(images, originals or {})
    return pairs


def _common_suffix(stems: Iterable[str], keys: Collection[str]) -> str:
    """What stands behind a key in every stem, such as ``_00``; empty if nothing does."""
    stems = list(stems)
    rests = {stems[0].removeprefix(key) for key in keys if stems[0].startswith(key)}
    fits = (rest for rest in rests if all(stem.removesuffix(rest) in keys for stem in stems))
    return next(fits, "")


def _short(image: ImageFile) -> str:
    return image.name.rpartition("/")[2]


def _judge(item: Item, pairs: Pairs) -> bool:
    sizes = []
    for image in item.images:
        try:
            sizes.append(_size(image))
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            pairs.faults["unreadable"].append(image.name)
            return False
    if len(set(sizes)) > 1:
        one, other = (f"{width}x{height}" for width, height in sizes)
        pairs.faults["size"].append(f"{_short(item.restored)}: {one}, its original {other}")
        return False
    return True


def _size(image: ImageFile) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(image.head())) as found:
            return found.size
    except OSError:  # a long profile or preview may stand before the size
        with Image.open(io.BytesIO(image.read())) as found:
            return found.size
