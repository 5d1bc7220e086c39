"""HTML as text: everything that comes from a run passes :func:`escape` or :func:`data_block`."""

import base64
import hashlib
import json
from collections.abc import Iterable
from html import escape as _escape
from typing import Any


def escape(value: object) -> str:
    """Returns text that is safe inside an element and inside a quoted attribute."""
    return _escape(str(value), quote=True)


def element(name: str, *children: str, **attributes: object) -> str:
    """Returns ``<name attributes>children</name>``; children are HTML, attributes plain text.

    ``class_`` stands for ``class``, other ``_`` for ``-``; True is an attribute without a value,
    None and False leave one out.
    """
    words = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escape(value)}"')
    return f"<{' '.join(words)}>{''.join(children)}</{name}>"


def section(title: str, anchor: str, *children: str, note: str = "") -> str:
    """Returns a part of the page under a heading; ``note`` is HTML below it."""
    head = element("h2", escape(title))
    explained = element("p", note, class_="note") if note else ""
    return element("section", head, explained, *children, id=anchor)


def folded(summary: str, *children: str, open_: bool = False) -> str:
    """Returns children that a click on ``summary`` (plain text) shows."""
    return element("details", element("summary", escape(summary)), *children, open=open_)


def code(text: str, one_line: bool = False) -> str:
    """Returns a block of plain text that scrolls by itself; a command's one line is wrapped."""
    return element("pre", escape(text), tabindex=0, class_="line" if one_line else None)


def data_block(name: str, value: Any) -> str:
    """Returns JSON for the page's script; no text in it can end the element or begin another."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


def security_policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """Returns the Content-Security-Policy: these inline texts, pictures in the page, nothing else.

    The texts are named by their SHA-256, so that no other script could run even if one got in.
    """

    def sources(texts: Iterable[str]) -> str:
        digests = (hashlib.sha256(text.encode()).digest() for text in texts)
        return " ".join(f"'sha256-{base64.b64encode(each).decode()}'" for each in digests)

    return (
        f"default-src 'none'; script-src {sources(scripts)}; style-src {sources(styles)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
