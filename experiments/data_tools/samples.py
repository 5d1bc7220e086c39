"""What becomes of the pictures: samples of a shard, or lines of the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datamodules.records import BrokenSample
from datamodules.shards.writer import members
from experiments.data_tools.preparing import Encoding, prepare


class UsableSamples(Iterator[dict[str, Any]]):
    """The usable samples among results, counting what was taken and what was left out."""

    def __init__(self, results: Iterator[Any], paired: bool, bar: Any) -> None:
        self.results, self.paired, self.bar = results, paired, bar
        self.taken, self.left_out = 0, []

    def __next__(self) -> dict[str, Any]:
        while True:
            picture, (image, retouched) = next(self.results)
            self.taken += 1
            self.bar.update()
            if isinstance(image, str):
                self.left_out.append((picture.source, image))
                continue
            if isinstance(retouched, str) or (self.paired and retouched is None):
                reason = retouched or "no such file in pair_with="
                self.left_out.append((picture.source, f"retouched image: {reason}"))
                continue
            return members(picture.key, image, {"source": picture.source}, retouched)

    def up_to(self, first: dict[str, Any], count: int) -> Iterator[dict[str, Any]]:
        """Yields ``first`` and further samples, ``count`` in all."""
        yield first
        for _ in range(count - 1):
            if (sample := next(self, None)) is None:
                return
            yield sample

    def taken_now(self) -> dict[str, Any]:
        """Returns what was taken since the last call."""
        result = {"taken": self.taken, "left_out": self.left_out}
        self.taken, self.left_out = 0, []
        return result


def prepare_pair(
    job: tuple[Path, Path | None, Encoding],
) -> tuple[bytes | str, bytes | str | None]:
    """Encodes a picture and its partner; a text says why one cannot be used."""
    path, partner, encoding = job
    return _prepared(path, encoding), _prepared(partner, encoding) if partner else None


def _prepared(path: Path, encoding: Encoding) -> bytes | str:
    try:
        return prepare(path, encoding)
    except BrokenSample as error:
        return str(error)
