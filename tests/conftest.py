"""What all tests share: a quiet, offline, single-threaded environment and the private test data."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before torch is imported anywhere. Two busy processes with two threads each are far slower than
# two with one; a missing file must not cost retries over the network.
os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    WANDB_MODE="offline",
    WANDB_SILENT="true",
    MPLBACKEND="Agg",
    TOKENIZERS_PARALLELISM="false",
)

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _shared_folder() -> Path:
    return Path(os.environ.get("OSDFACE_SHARED") or ROOT.parent / "shared").resolve()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives every test that asks for the fixture ``shared_data`` the marker of that name."""
    for item in items:
        if "shared_data" in getattr(item, "fixturenames", ()):
            item.add_marker("shared_data")


def pytest_runtest_setup(item: pytest.Item) -> None:
    folder = _shared_folder()
    if item.get_closest_marker("shared_data") and not (folder / "data").is_dir():
        pytest.skip(f"no private test data at {folder} (set OSDFACE_SHARED)")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Returns the folder of the private test data; without it the test is skipped."""
    folder = _shared_folder()
    if not (folder / "data").is_dir():
        pytest.skip(f"no private test data at {folder} (set OSDFACE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Returns a headless Chromium, playwright's Browser; without either the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "google-chrome", "chromium-browser")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no Chromium on PATH")
    with playwright.sync_playwright() as driver:
        # Without its sandbox: containers often forbid it, and only our own pages are opened.
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
