"""Words of the command line: plain ``key=value``, nothing else."""

import re
from collections.abc import Iterable, Mapping

from osdface.errors import UserError

_KEY = re.compile(r"[A-Za-z_][\w.]*")


def parse_words(argv: Iterable[str]) -> dict[str, str]:
    """Returns ``{key: text}``; everything after the first ``=`` is the value, of a repeated key
    the last one counts.

    Raises:
        UserError: A word is no ``key=value``.
    """
    words: dict[str, str] = {}
    for word in argv:
        key, equals, text = word.partition("=")
        key = key.removeprefix("--") if equals else key
        if not equals:
            raise UserError(f"{word!r} is no key=value; --help explains the keys.")
        if not _KEY.fullmatch(key):
            raise UserError(f"{key!r} in {word!r} is no key; --help explains the keys.")
        if not text.strip():
            raise UserError(f"{key}= has no value; write {key}=null for none.")
        words.pop(key, None)
        words[key] = text
    return words


def to_argv(words: Mapping[str, str]) -> list[str]:
    """Returns the words as arguments of a process: the inverse of :func:`parse_words`."""
    return [f"{key}={text}" for key, text in words.items()]
