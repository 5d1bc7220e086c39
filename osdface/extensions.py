"""Losses and metrics in files of their own, found by the file's name."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TypeVar

Base = TypeVar("Base")


def find_class(package: str, name: str, base: type[Base]) -> Callable[[], Base] | None:
    """Returns the class called ``name`` of the module ``package.name``, None if there is none.

    It is built without arguments.

    Args:
        package: Where the file is, such as ``osdface.losses``.
        name: The file's name without suffix, and the class's attribute ``name``.
        base: What the class must be derived from.
    """
    module = f"{package}.{name}"
    if not name.isidentifier() or find_spec(module) is None:
        return None
    for found in vars(import_module(module)).values():
        own = isinstance(found, type) and found.__module__ == module and issubclass(found, base)
        if own and getattr(found, "name", None) == name:
            return found
    return None
