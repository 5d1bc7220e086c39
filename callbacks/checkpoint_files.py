"""Checkpoint files on disk: whether one is whole, which to resume from, how one is replaced."""

import io
import os
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from osdface.errors import UserError
from osdface.files import atomic_path

LAST, PREVIOUS = "last.ckpt", "last-previous.ckpt"
# What a training goes on from; an export or somebody else's file lacks some of it.
_PARTS = {"state_dict", "generator_step", "optimizer_states", "loops"}
_CHUNK = 1 << 20


def fault(path: str | Path) -> str | None:
    """Returns why a checkpoint cannot be resumed from, None if it is whole.

    The CRC-32 that the zip holds of each record is compared with the bytes on disk, which
    ``torch.load`` does not do: a flipped bit would go on as a wrong weight.
    """
    try:
        if os.path.getsize(path) == 0:
            return "it is empty"
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                with archive.open(record) as stream:
                    while stream.read(_CHUNK):
                        pass
        # Mapped, only the structure is read: the tensors were just checked.
        state = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except zipfile.BadZipFile as error:
        wrong_sum = "CRC-32" in str(error)
        return "its checksum is wrong" if wrong_sum else "it is cut off or no checkpoint"
    except (OSError, zlib.error) as error:
        return f"it cannot be read ({error})"
    except Exception as error:  # whatever a damaged directory or pickle makes of torch and zipfile
        return f"it cannot be loaded ({type(error).__name__})"
    missing = _PARTS - state.keys() if isinstance(state, dict) else _PARTS
    return f"it holds no {', '.join(sorted(missing))}" if missing else None


@dataclass(frozen=True)
class Found:
    """The checkpoint to resume from.

    Attributes:
        path: Whole, checked just now; None where there is no checkpoint at all.
        damaged: File -> what is wrong with it, of those that were tried before.
    """

    path: Path | None
    damaged: dict[Path, str]


def look_for_last(folder: Path) -> Found:
    """Returns ``last.ckpt`` of a folder if it is whole, or else the one before; changes nothing.

    Raises:
        UserError: There are checkpoints, and none of them is whole.
    """
    damaged: dict[Path, str] = {}
    for path in (folder / LAST, folder / PREVIOUS):
        if not path.exists():
            continue
        reason = fault(path)
        if reason is None:
            return Found(path, damaged)
        damaged[path] = reason
    if damaged:
        told = " and ".join(f"{path.name} ({reason})" for path, reason in damaged.items())
        raise UserError(
            f"No checkpoint in {folder} can be resumed from: {told}; put a whole {LAST} there from "
            "a backup, or move that folder away to begin anew."
        )
    return Found(None, damaged)


def set_aside(path: Path) -> Path:
    """Renames a damaged file to a name that nothing reads, and returns it."""
    names = (f"{path.stem}.damaged-{n}{path.suffix}" for n in range(1, 10_000))
    aside = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    path.rename(aside)
    return aside


def name_twice(path: Path, copy: Path) -> None:
    """Gives ``path`` a second name in place of ``copy``, which is never missing meanwhile."""
    if not path.is_file():
        return
    with atomic_path(copy) as temporary:
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, temporary)


class WholeFileIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place, flushes and checks it, and only then renames it.

    Lightning's own writes through the system's temporary folder, which may be small. ``last.ckpt``
    is kept as ``last-previous.ckpt`` when it is replaced. An error of the disk is kept in ``error``
    and not raised: the other ranks are waiting for this one in a barrier.
    """

    def __init__(self) -> None:
        self.error: OSError | None = None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        path = Path(path)
        # In memory first: torch makes an unreadable RuntimeError of an error of the disk.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        try:
            with atomic_path(path) as temporary:
                with open(temporary, "wb") as file:
                    file.write(buffer.getbuffer())
                    file.flush()
                    os.fsync(file.fileno())
                if (reason := fault(temporary)) is not None:
                    raise OSError(f"what was written is not what is read back: {reason}")
                if path.name == LAST:
                    name_twice(path, path.with_name(PREVIOUS))
        except OSError as error:
            self.error = error
