"""What every command does with a user's mistake, a full disk and Ctrl-C; imports nothing heavy."""

import sys
from collections.abc import Callable

from osdface.errors import UserError, disk_full, disk_sentence


def guarded(work: Callable[[], int], *, tell_interruption: bool = True) -> int:
    """Returns the exit status of ``work()``, 2 after a mistake or on a full disk, 130 after Ctrl-C.

    Args:
        work: Does everything; returns an exit status.
        tell_interruption: False for a part of a command, whose parent says it.
    """
    try:
        return work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        if tell_interruption:
            print("Interrupted; the same command goes on.", file=sys.stderr)
        return 130
    except Exception as error:
        if not disk_full(error):
            raise
        print(f"error: {disk_sentence(error)}", file=sys.stderr)
        return 2
