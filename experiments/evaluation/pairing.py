"""Which image belongs to which original: paired by stem, every difference named."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from experiments.evaluation.options import KINDS
from osdface.errors import UserError
from osdface.files import write_text
from osdface.picture_reading import PICTURE_SUFFIXES

DIFFERENCES = "differences.txt"


@dataclass(frozen=True)
class Item:
    """An image to be measured, by its key (the stem without suffix), and its original."""

    key: str
    restored: Path
    reference: Path | None = None


@dataclass
class Pairs:
    """What can be measured, and what differs: kind of :data:`KINDS` -> sentences."""

    items: list[Item]
    faults: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

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
                "leaves them out."
            )
        if not self.items:
            raise UserError("No image is left that could be measured.")


def pictures_in(folder: str | Path, key: str) -> list[Path]:
    """Returns the pictures of a folder (not below it) in the order of their names.

    Raises:
        UserError: There is no such folder, or no picture in it.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"{key}={folder} is no folder.")
    found = sorted(
        path
        for path in root.iterdir()
        if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != "." and path.is_file()
    )
    if not found:
        raise UserError(f"{key}={folder} holds no picture.")
    return found


def _by_stem(paths: Iterable[Path], key: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise UserError(f"{key}= holds {found[path.stem].name} and {path.name}: which one?")
        found[path.stem] = path
    return found


def find_pairs(restored: str | Path, reference: str | Path | None, suffix: str | None) -> Pairs:
    """Pairs two folders by stem; without a reference every image stands alone.

    Only heads of files are read: an image that is cut off is found when it is measured.

    Args:
        restored: Folder of the restored images.
        reference: Folder of the originals.
        suffix: What the restored images' stems end in, besides.

    Raises:
        UserError: A folder is missing, empty, or holds two pictures of one stem.
    """
    images = _by_stem(pictures_in(restored, "restored"), "restored")
    originals = _by_stem(pictures_in(reference, "reference"), "reference") if reference else None
    pairs = Pairs([])
    seen: set[str] = set()
    for stem, path in images.items():
        key = stem.removesuffix(suffix or "")
        strange = not stem.endswith(suffix or "") or key in seen
        if strange or (originals is not None and key not in originals):
            pairs.faults["extra"].append(path.name)
            continue
        seen.add(key)
        item = Item(key, path, originals[key] if originals else None)
        if _judge(item, pairs):
            pairs.items.append(item)
    pairs.faults["missing"] = [path.name for k, path in (originals or {}).items() if k not in seen]
    return pairs


def _judge(item: Item, pairs: Pairs) -> bool:
    sizes = []
    for path in filter(None, (item.restored, item.reference)):
        try:
            with Image.open(path) as image:
                sizes.append(image.size)
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
            pairs.faults["unreadable"].append(str(path))
            return False
    if len(set(sizes)) > 1:
        one, other = (f"{width}x{height}" for width, height in sizes)
        pairs.faults["size"].append(f"{item.restored.name}: {one}, its original {other}")
        return False
    return True
