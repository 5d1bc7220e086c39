"""Shards that can only be read through: ``pipe:`` commands and servers without ranges.

Each is read through once, nothing of it decoded, into a file of the spool folder; from there it is
as good as a local shard: any order, exact resume.
"""

import logging
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from datamodules.shards.http_shard import PAUSE
from datamodules.shards.places import LocalShard
from datamodules.shards.tar_index import TarIndex
from osdface.degradation import stable_hash
from osdface.errors import UserError
from osdface.files import atomic_path, locked

logger = logging.getLogger(__name__)


class SpooledShard(LocalShard):
    """A remote shard with a local copy that is made when it is first indexed.

    Args:
        url: ``pipe:COMMAND`` (run by the shell), ``http://...`` or ``https://...``.
        folder: The spool folder; two processes that need a shard fetch it once.
        retries: How often a failing fetch is repeated.
        timeout: Seconds without a byte after which a fetch has failed.
    """

    def __init__(self, url: str, folder: Path, retries: int = 3, timeout: float = 30.0) -> None:
        digest = f"{stable_hash(url):032x}"[:12]
        stem = re.sub(r"[^\w.-]+", "_", url.partition("?")[0].removesuffix(" -"))[-60:]
        super().__init__(folder / f"{stem.removesuffix('.tar')}-{digest}.tar")
        self.name, self.retries, self.timeout = url, retries, timeout

    @property
    def stem(self) -> str:
        """The last name ending in ``.tar`` in its address."""
        names = re.findall(r"([\w.-]+)\.tar\b", self.name)
        return names[-1] if names else self.path.stem

    def index(self) -> TarIndex:
        """Fetches the shard unless it is there, and returns its members.

        Raises:
            OSError: It cannot be fetched.
            UserError: The spool folder cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with locked(self.path.with_suffix(".lock")):
                if not self.path.exists():
                    self._fetch_repeatedly()
        except _FetchError as error:
            raise OSError(0, str(error)) from error
        except OSError as error:
            raise UserError(
                f"The shard {self.name} cannot be kept in {self.path.parent} ({error.strerror}): "
                "make room there or set cache_dir."
            ) from error
        return super().index()

    def _fetch_repeatedly(self) -> None:
        fetch: Callable[[BinaryIO], None] = (
            self._from_pipe if self.name.startswith("pipe:") else self._from_server
        )
        for attempt in range(self.retries + 1):
            try:
                with atomic_path(self.path) as temporary, open(temporary, "wb") as file:
                    fetch(file)
                return
            except _FetchError as error:
                if attempt == self.retries or error.final:
                    raise
                logger.warning("Reading the shard %s failed (%s); again.", self.name, error)
            time.sleep(min(PAUSE * 2**attempt, 10))

    def _from_pipe(self, file: BinaryIO) -> None:
        command = self.name.removeprefix("pipe:")
        # A session of its own, so that the whole pipeline can be ended.
        process = subprocess.Popen(
            command, shell=True, stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        try:
            while True:
                if not select.select([process.stdout], [], [], self.timeout)[0]:
                    raise _FetchError(f"no byte within {self.timeout:g} s")
                if not (data := os.read(process.stdout.fileno(), 1 << 20)):
                    break
                file.write(data)
            if status := process.wait(self.timeout):
                raise _FetchError(f"the command ended with status {status}")
        except subprocess.TimeoutExpired as error:
            raise _FetchError("the command does not end") from error
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdout.close()

    def _from_server(self, file: BinaryIO) -> None:
        import requests

        try:
            headers = {"Accept-Encoding": "identity"}
            with requests.get(
                self.name, headers=headers, stream=True, timeout=self.timeout
            ) as answer:
                if answer.status_code != 200:
                    final = answer.status_code < 500 and answer.status_code not in (408, 429)
                    raise _FetchError(f"HTTP {answer.status_code} {answer.reason}", final)
                for data in answer.iter_content(1 << 20):
                    file.write(data)
                if file.tell() < int(answer.headers.get("Content-Length", 0)):
                    raise _FetchError("the answer was cut off")
        except requests.RequestException as error:
            raise _FetchError(type(error).__name__) from error


class _FetchError(Exception):
    """A fetch failed; ``final`` tells that a repeat is of no use."""

    def __init__(self, text: str, final: bool = False) -> None:
        super().__init__(text)
        self.final = final
