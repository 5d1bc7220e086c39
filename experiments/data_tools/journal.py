"""What of a set of shards is already made: one small file a shard, in a hidden folder."""

import re
import shutil
from pathlib import Path
from typing import Any

from datamodules.shards.writer import MANIFEST
from osdface.errors import UserError
from osdface.files import read_json, write_json

FOLDER = ".making"
_UNFINISHED = re.compile(r"\.(train|val)-|\.\w+\.[0-9a-f]{8}\.\w+$")  # of shards, of atomic_path


class Journal:
    """The memory of an interrupted making of shards.

    Args:
        output: The folder of the shards.
        plan: What decides their bytes.

    Attributes:
        manifest: That of shards which are already all made, else None.

    Raises:
        UserError: The folder holds shards of another plan, or of unknown origin.
    """

    def __init__(self, output: Path, plan: dict[str, Any]) -> None:
        self.output, self.folder = output, output / FOLDER
        self.manifest = _read(output / MANIFEST)
        if self.manifest is not None:
            _compare(self.manifest.get("settings"), plan, output)
            self._check_whole(self.manifest)
            return
        before = _read(self.folder / "plan.json")
        if before is not None:
            _compare(before, plan, output)
        elif tars := sorted(output.glob("*.tar")):
            raise UserError(
                f"{output} already holds {tars[0].name} of unknown origin: choose another output=."
            )
        write_json(self.folder / "plan.json", plan)
        # Of a process that was killed; finished files have no such names.
        for path in output.glob(".*"):
            if path.is_file() and _UNFINISHED.match(path.name):
                path.unlink(missing_ok=True)

    def entries(self, split: str) -> list[dict[str, Any]]:
        """Returns what :meth:`add` was given for the first shards of a split, without a gap."""
        found: list[dict[str, Any]] = []
        while (entry := _read(self._path(split, len(found)))) is not None:
            path = self.output / entry["shard"]["name"]
            if not path.exists() or path.stat().st_size != entry["shard"]["bytes"]:
                break  # made anew
            found.append(entry)
        return found

    def add(self, split: str, number: int, entry: dict[str, Any]) -> None:
        """Notes that a shard is whole and in its place."""
        write_json(self._path(split, number), entry)

    def close(self) -> None:
        """Forgets everything: the manifest is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, split: str, number: int) -> Path:
        return self.folder / f"{split}-{number:06d}.json"

    def _check_whole(self, manifest: dict[str, Any]) -> None:
        for split in manifest["splits"].values():
            for shard in split["shards"]:
                path = self.output / shard["name"]
                if not path.exists() or path.stat().st_size != shard["bytes"]:
                    raise UserError(
                        f"{path} is missing or changed since it was made: remove "
                        f"{self.output / MANIFEST} and all shards, and repeat."
                    )
        self.close()


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError(f"{path} is broken: choose another output=.") from None


def _compare(before: Any, plan: dict[str, Any], output: Path) -> None:
    if before == plan:
        return
    known = before if isinstance(before, dict) else {}
    differing = [name for name in plan if known.get(name) != plan[name]]
    told = ", ".join(f"{name} was {known.get(name)}, is {plan[name]}" for name in differing[:3])
    if differing[0] in ("images", "sources"):
        told = "other pictures in source= or pair_with="
    raise UserError(
        f"{output} holds shards made with other settings ({told}): choose another output=, or "
        "remove that folder."
    )
