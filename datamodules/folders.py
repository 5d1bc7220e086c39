"""Images in a folder, found recursively."""

from pathlib import Path

from datamodules.records import BrokenSample, Record
from datamodules.splits import identity_labels
from osdface.degradation import stable_hash
from osdface.errors import UserError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def find_images(root: str | Path) -> list[Path]:
    """Returns all images below ``root``, sorted by relative path; hidden files are left out.

    Raises:
        UserError: The folder is missing or holds no image.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"The data folder {root} does not exist: set data.root to a folder of images."
        )
    found = [
        path
        for path in root.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    if not found:
        raise UserError(
            f"No image below {root}: put files ending in {', '.join(IMAGE_SUFFIXES)} there "
            "or set data.root to another folder."
        )
    return sorted(found, key=lambda path: path.relative_to(root).as_posix())


class FolderSource:
    """A folder of images as a :class:`~datamodules.records.Source`.

    A key is the path below the folder without suffix, ``/`` written as ``__``; where two files
    would share one, the suffix is added (``a-png``, ``a-jpg``).

    Args:
        root: The folder.
        identity_from: See :func:`~datamodules.splits.identity_name`.
    """

    def __init__(self, root: str | Path, identity_from: str | None = "stem_prefix") -> None:
        self.root = Path(root)
        self.paths = find_images(self.root)
        stems = [
            "__".join(path.relative_to(self.root).with_suffix("").parts) for path in self.paths
        ]
        seen: dict[str, int] = {}
        for stem in stems:
            seen[stem] = seen.get(stem, 0) + 1
        self.keys = [
            stem if seen[stem] == 1 else f"{stem}-{path.suffix[1:].lower()}"
            for stem, path in zip(stems, self.paths, strict=True)
        ]
        if len(set(self.keys)) < len(self.keys):
            raise UserError(
                f"Some files below {self.root} differ only in '/' against '__' or in upper case of "
                "the suffix: rename them."
            )
        self.identities = identity_labels(self.keys, identity_from)

    def read(self, index: int) -> Record:
        """Reads one image file."""
        try:
            image = self.paths[index].read_bytes()
        except OSError as error:
            raise BrokenSample(f"{self.paths[index]}: {error.strerror}") from error
        return Record(self.keys[index], image, self.identities[index])

    def fingerprint(self) -> str:
        """Returns a hash of the relative paths and sizes of all files."""
        sizes = [path.stat().st_size if path.exists() else -1 for path in self.paths]
        return f"{stable_hash(*self.keys, *sizes):032x}"
