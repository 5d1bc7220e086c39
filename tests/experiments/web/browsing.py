"""What a visitor does, in a real browser."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PATIENCE = 90_000  # ms, on a busy machine
ATTEMPT = 10_000  # ms


@contextmanager
def visiting(chromium: Any, address: str, width: int = 1280, **options: Any) -> Iterator[Any]:
    """Opens the page as a new visitor; ``page.outside`` lists requests to other places."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.outside, page.complaints = [], []

    def watched(route: Any) -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            page.outside.append(route.request.url)
            route.abort()

    page.route("**/*", watched)
    page.on("console", lambda m: page.complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    try:
        page.goto(address)
        page.wait_for_selector("#status .said")
        loaded(page)
        yield page
    finally:
        context.close()


def upload(page: Any, path: Path) -> str:
    """Gives the page a file in place of the one before, and returns what it answers."""
    if page.locator("#photo [aria-label=Clear]").count():
        page.click("#photo [aria-label=Clear]")
        page.wait_for_selector("#status .said", state="detached")
        page.set_input_files("#photo input[type=file]", path)
        page.wait_for_selector("#status .said")
        return page.inner_text("#status .said")
    before = page.inner_text("#status .said") if page.locator("#status .said").count() else ""
    page.set_input_files("#photo input[type=file]", path)
    page.wait_for_function(
        "before => { const now = document.querySelector('#status .said');"
        " return now && now.innerText != before; }",
        arg=before,
    )
    return page.inner_text("#status .said")


def restore_until(page: Any, words: str) -> None:
    """Presses the button until the answer has these words.

    A press right after an input was filled may be sent with the value from before, and one while
    the page still works is not sent at all: a person presses again.
    """
    from playwright.sync_api import TimeoutError as Late  # only now: it may not be installed

    for _ in range(PATIENCE // ATTEMPT):
        page.click("#restore")
        try:
            page.locator("#status", has_text=words).wait_for(timeout=ATTEMPT)
            return
        except Late:
            said = page.inner_text("#status")
    raise AssertionError(f"no {words!r} in the page's answer, but {said!r}")


def loaded(page: Any) -> None:
    """Waits until the two pictures of the slider are there."""
    page.wait_for_function(
        "() => { const images = [...document.querySelectorAll('#slider img')];"
        " return images.length == 2 && images.every(i => i.complete && i.naturalWidth > 0); }"
    )


def pair(page: Any) -> list[np.ndarray]:
    """Downloads the two pictures of the slider, before and after, as the browser does."""
    loaded(page)
    found = []
    for image in page.locator("#slider img").all():
        body = page.request.get(image.get_attribute("src")).body()
        found.append(np.asarray(Image.open(io.BytesIO(body)).convert("RGB")))
    return found


def seen(page: Any, selector: str) -> np.ndarray:
    """What a part of the page looks like, (H, W, 3)."""
    shot = page.locator(selector).screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)
