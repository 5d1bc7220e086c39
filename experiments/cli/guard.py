"""What every command does with a user's mistake and with Ctrl-C; it imports nothing heavy."""

import sys
from collections.abc import Callable

from osdface.errors import UserError


def guarded(work: Callable[[], int], *, tell_interruption: bool = True) -> int:
    """Returns the exit status of ``work()``, 2 after a user's mistake, 130 after Ctrl-C.

    Args:
        work: Does everything; returns an exit status.
        tell_interruption: False for a part of a command, whose parent says it.
    """
    try:
        return work()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if tell_interruption:
            print("Interrupted; the same command goes on.", file=sys.stderr)
        return 130
