"""Values: from the text a user typed to a typed value, and on into Hydra's override grammar.

Hydra's grammar gives a meaning to ``, = ~ ( ) [ ] { } ' "`` and more, and fails on paths that hold
them. So it never sees a user's text. Which type a value has is decided by the type that the
composed configuration has at that key:

- text (all paths, and keys that are null by default): taken literally, whatever it holds;
- number, true/false: must be one;
- list or mapping: ``[a,b]`` or ``a,b``; ``{a: 1}``;
- what is null by default below ``data.degradation``: any of these.

``null`` alone is always "none" (a file of that name is ``./null``).
"""

import re
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from osdface.errors import UserError

# Lists whose default, a word or null, does not tell so, with the type of their elements.
LISTS: dict[str, type] = {
    "variants": str,
    "seeds": int,
    "budgets": str,
    "logger.tags": str,
    "scale.stage2.lora_targets": str,
}
# Sections without paths: a null there may be replaced by a number.
_NUMBERS_BELOW = ("scale.", "trainer.")
# A section whose nulls may be replaced by numbers, lists and mappings.
_ANYTHING_BELOW = "data.degradation."
_BOOLS = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False}


def typed_value(key: str, text: str, default: Any) -> Any:
    """Returns the value of ``text`` for a key whose configured value is ``default``.

    Raises:
        UserError: The text is not of the default's type.
    """
    if text == "null":
        return None
    if key in LISTS:
        return _list(key, text, LISTS[key])
    if isinstance(default, bool):
        if text.lower() not in _BOOLS:
            raise _wrong(key, text, "true or false")
        return _BOOLS[text.lower()]
    if isinstance(default, int):
        return _number(key, text, int)
    if isinstance(default, float):
        return _number(key, text, float)
    if OmegaConf.is_list(default) or OmegaConf.is_dict(default):
        return _yaml(key, text, default)
    if default is None and key.startswith(_NUMBERS_BELOW):
        return _scalar(text)
    if default is None and key.startswith(_ANYTHING_BELOW):
        return _anything(key, text)
    return text


def _wrong(key: str, text: str, wanted: str) -> UserError:
    return UserError(f"{key}={text} is wrong: {key} must be {wanted}.")


def _number(key: str, text: str, kind: type) -> Any:
    try:
        value = float(text)
        if kind is float and value == value:
            return value
        if value == int(value):
            return int(text) if re.fullmatch(r"[+-]?\d+", text) else int(value)
    except (ValueError, OverflowError):
        pass
    raise _wrong(key, text, "a whole number" if kind is int else "a number")


def _scalar(text: str) -> Any:
    """A number or true/false if the text is one, or else the text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"true": True, "false": False}.get(text, text)


def _anything(key: str, text: str) -> Any:
    """What the text says in YAML: a number, a list, a mapping, or else itself."""
    try:
        value = OmegaConf.from_dotlist([f"value={text}"]).value
    except (YAMLError, OmegaConfBaseException, ValueError):
        raise _wrong(key, text, "a list such as [a,b] or a mapping like {a: 1}") from None
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _list(key: str, text: str, kind: type) -> Any:
    """``[a, b]``, ``a,b``; a single word stays a word where words are allowed."""
    inner = text.strip()
    bracketed = inner.startswith("[") and inner.endswith("]")
    if bracketed:
        inner = inner[1:-1]
    items = [item.strip().strip("'\"") for item in inner.split(",")]
    items = [item for item in items if item]
    if not items:
        raise _wrong(key, text, "a list such as [a,b]")
    if kind is int:
        return [_number(key, item, int) for item in items]
    return items[0] if key == "variants" and len(items) == 1 and not bracketed else items


def _yaml(key: str, text: str, default: Any) -> Any:
    wanted = "a list such as [a,b]" if OmegaConf.is_list(default) else "a mapping like {a: 1}"
    if OmegaConf.is_list(default) and not text.startswith("["):
        text = f"[{text}]"
    try:
        value = OmegaConf.from_dotlist([f"value={text}"]).value
    except (YAMLError, OmegaConfBaseException, ValueError):
        value = None
    if type(value) is not type(default):
        raise _wrong(key, text, wanted)
    return OmegaConf.to_container(value)


def escaped(text: str) -> str:
    """Returns text whose ``${`` OmegaConf takes literally."""
    return re.sub(r"(\\*)\$\{", lambda match: match[1] * 2 + r"\${", text)


def to_hydra(value: Any) -> str:
    """Writes a typed value in Hydra's override grammar, so that it is read back unchanged."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return "[" + ",".join(map(to_hydra, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{to_hydra(v)}" for k, v in value.items()) + "}"
    # Hydra's escape of the quote is a backslash, and backslashes before a quote are doubled.
    text = escaped(str(value))
    text = re.sub(r"(\\*)'", lambda match: match[1] * 2 + r"\'", text)
    text = re.sub(r"(\\+)$", lambda match: match[1] * 2, text)
    return f"'{text}'"
