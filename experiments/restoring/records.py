"""What is done already: a small record beside the results, one a picture."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.restoring.options import Options
from experiments.restoring.photos import COMPARISONS, Photo
from osdface.errors import UserError
from osdface.files import read_json, write_json

FOLDER = ".restored"
# What changes no picture but in its rounding, or is told by the picture's own source.
_FREE = (
    "input", "output", "batch_size", "device", "devices", "progress", "weights_dir", "compile",
    "cuda_graphs",
)  # fmt: skip


class Records:
    """The records of an output folder.

    A picture is done if its record names the same source, unchanged, and the same settings, and
    all files that it lists are there. It is written before them: what is there and has no record
    was made by somebody else, and is never overwritten.
    """

    def __init__(self, options: Options) -> None:
        self.output = Path(options.output).expanduser()
        settings = {k: v for k, v in asdict(options).items() if k not in _FREE}
        for key in ("checkpoint", "base", "vre"):
            settings[key] = _stamped(settings[key])
        self.settings = settings

    def _path(self, photo: Photo) -> Path:
        return self.output / FOLDER / f"{photo.name}.json"

    def _read(self, photo: Photo) -> dict[str, Any]:
        try:
            record = read_json(self._path(photo))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def is_done(self, photo: Photo) -> bool:
        """Returns whether nothing is left to do for a picture."""
        record = self._read(photo)
        return (
            bool(record)
            and self._is_ours(record, photo)
            and record["stamp"] == _stamp(photo.source)
            and all((self.output / file).is_file() for file in record["files"])
        )

    def _is_ours(self, record: dict[str, Any], photo: Photo) -> bool:
        same = record.get("source") == str(photo.source.resolve())
        return same and record.get("settings") == self.settings

    def check_free(self, photos: list[Photo]) -> None:
        """Raises UserError if a result would replace a file that is not its own former self."""
        for photo in photos:
            stems = (photo.name, f"{photo.name}_00", f"{COMPARISONS}/{photo.name}")
            there = [self.output / f"{stem}.png" for stem in stems]
            there = [path for path in there if path.exists()]
            if not there or self._is_ours(record := self._read(photo), photo):
                continue
            before = record.get("settings", {})
            changed = [key for key, value in self.settings.items() if before.get(key) != value]
            why = f"with other settings ({', '.join(changed)})" if changed and before else ""
            raise UserError(
                f"{there[0]} is there already and was made {why or 'from another picture'}: "
                "choose another output=, or remove it."
            )

    def write(self, photo: Photo, files: list[str], faces: int) -> None:
        """Notes what is about to be written for a picture.

        Args:
            photo: The picture.
            files: Paths below the output folder.
            faces: How many were found.
        """
        record = {
            "source": str(photo.source.resolve()),
            "stamp": _stamp(photo.source),
            "settings": self.settings,
            "files": files,
            "faces": faces,
        }
        write_json(self._path(photo), record)


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _stamped(name: str | None) -> Any:
    """A path with what changes when it is trained anew; other words as they are."""
    path = Path(name).expanduser() if name else None
    if path is None or not path.exists():
        return name
    files = [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())
    return [str(path.resolve()), [[file.name, *_stamp(file)] for file in files]]
