"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """A user's mistake, told in one sentence: what is wrong, where, and what to do.

    Commands print it without a traceback and exit with status 2.
    """
