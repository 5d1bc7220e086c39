"""The exceptions that are told in one sentence, and the sentence of a full disk."""

import errno
from pathlib import Path

# No space, no quota, or larger than a limit on the size of a file.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Libraries that write in another language pass on no number.
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")


class UserError(Exception):
    """A user's mistake, told in one sentence: what is wrong, where, and what to do.

    Commands print it without a traceback and exit with ``status``.
    """

    status = 2


class Outage(UserError):
    """Something outside broke, such as another process or the network; nobody's mistake."""

    status = 1


def disk_full(error: BaseException | None) -> bool:
    """Returns whether an error, or one that led to it, says that there is no room to write."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_sentence(error: BaseException, path: str | Path | None = None) -> str:
    """Returns one sentence for an error of the disk while ``path`` was written."""
    path = path or getattr(error, "filename", None)
    where = f"{path} could not be written" if path else "A file could not be written"
    reason = getattr(error, "strerror", None) or (str(error).strip() or "I/O error").splitlines()[0]
    remedy = "free some space" if disk_full(error) else "see to the disk"
    return (
        f"{where} ({reason}): {remedy} and give the same command, which goes on from what was "
        "saved before."
    )
