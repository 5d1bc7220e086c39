"""The page in a real browser: what visitors see."""

import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from experiments.web.drawing import enlarged
from experiments.web.models import TINY_NAME
from experiments.web.work import Order
from tests.experiments.web.browsing import loaded, pair, restore_until, seen, upload, visiting
from tests.experiments.web.conftest import portrait, scene
from tests.experiments.web.malformed import encoded, malformed


@pytest.fixture
def page(chromium, address):
    """A new visitor, so that no test depends on what another one left behind."""
    with visiting(chromium, address) as page:
        yield page


def choose(page, words: str) -> None:
    page.get_by_label(words).check()


def test_an_example_is_there_before_anything_is_dropped(page):
    before, after = pair(page)
    assert before.shape == after.shape == (512, 512, 3)
    assert np.abs(before.astype(int) - after).mean() > 3
    assert "example" in page.inner_text("#status")
    assert "stand-in" in page.inner_text("#about-model")
    assert "an estimate, not evidence" in page.inner_text("#foot")


def test_a_portrait_is_restored_and_the_slider_shows_both(page, save, studio):
    path = save("face.png", portrait(1))
    choose(page, "aligned")
    assert "One face restored by tiny" in upload(page, path)
    before, after = pair(page)
    expected = studio.restore(Order(path.read_bytes(), TINY_NAME))
    assert np.array_equal(before, expected.before) and np.array_equal(after, expected.after)

    middle = seen(page, "#slider")
    box = page.locator("#slider .slider-wrap img").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - box["width"] * 0.4, y, steps=8)
    page.mouse.up()
    moved = seen(page, "#slider")
    changed = np.abs(middle - moved).max(-1) > 12
    left, right = changed[:, : changed.shape[1] // 2], changed[:, changed.shape[1] // 2 + 40 :]
    assert left.mean() > 0.05  # there the restored face is now
    assert right.mean() < 0.01  # and there it was before
    # On screen, the picture on the right of the handle is the restored one.
    side = round(min(box["width"], box["height"]))  # the picture is centred in its place
    own = page.locator("#slider").bounding_box()
    top = round(box["y"] - own["y"] + (box["height"] - side) / 2)
    start = round(box["x"] - own["x"] + (box["width"] - side) / 2)
    part = slice(round(side * 0.6), round(side * 0.9))
    on_screen = moved[top : top + side, start : start + side][60:-5, part]
    shown, hidden = (
        np.asarray(Image.fromarray(image).resize((side, side))).astype(int)[60:-5, part]
        for image in (after, before)
    )
    assert np.abs(on_screen - shown).mean() < 4
    assert np.abs(hidden - shown).mean() > 8


def test_the_restored_picture_can_be_saved(page, save, tmp_path):
    choose(page, "aligned")
    upload(page, save("face.png", portrait(1)))
    with page.expect_download() as download:
        page.click("#save")
    download.value.save_as(tmp_path / "saved.png")
    saved = Image.open(tmp_path / "saved.png")
    assert np.array_equal(np.asarray(saved), pair(page)[1])
    assert not saved.info and not saved.getexif()


def test_faces_of_a_whole_photo_are_framed(page, save):
    choose(page, "Whole photo")
    assert "2 faces restored" in upload(page, save("group.png", scene()))
    page.get_by_text("Details: the faces").click()
    page.wait_for_selector("#faces img")
    source = page.get_attribute("#faces img", "src")
    frames = np.asarray(Image.open(_bytes(page.request.get(source).body())))
    assert frames.shape == scene().shape and (frames != scene()).any()
    before, _ = pair(page)
    assert np.array_equal(before, enlarged(scene()))


def _bytes(data: bytes):
    import io

    return io.BytesIO(data)


def test_drawing_and_degrading(page):
    page.click("#draw")
    page.wait_for_function("document.querySelector('#status').innerText.includes('waveface')")
    assert page.get_by_label("aligned").is_checked()
    first = pair(page)
    page.click("#degrade button")
    page.get_by_label("Seed").fill("5")
    page.get_by_label("Seed").press("Tab")
    restore_until(page, "seed 5")
    second = pair(page)
    assert not np.array_equal(first[0], second[0])
    # The visitor's own photo is not degraded unasked.
    page.click("#photo [aria-label=Clear]")
    page.wait_for_selector("#status .said", state="detached")
    assert page.get_by_label("Whole photo").is_checked()
    assert page.get_by_label("Preset").input_value().startswith("none")


def test_nothing_dropped_is_a_sentence(page):
    restore_until(page, "Drop a photo first")
    assert page.locator("#status .wrong").count() == 1


def test_malformed_files_are_answered_and_the_page_lives_on(page, save):
    choose(page, "aligned")
    files = malformed()
    assert len(files) > 20
    for name, (data, answer) in files.items():
        said = upload(page, save(re.sub("/", "_", name), data))
        assert (answer or "One face restored") in said, (name, said)
        assert ("restored" in said) == (not answer)
        assert "Traceback" not in page.content()
    assert "One face restored" in upload(page, save("good.png", portrait(1)))


def test_a_file_that_is_too_large_is_a_sentence(chromium, address, save):
    with visiting(chromium, address) as page:
        path = save("large.png", b"\x89PNG" + bytes(26 * 2**20))
        page.set_input_files("#photo input[type=file]", path)
        page.get_by_text("exceed the maximum allowed size").wait_for()


def test_nothing_is_loaded_from_elsewhere(chromium, address, save):
    with visiting(chromium, address) as page:
        choose(page, "aligned")
        upload(page, save("face.png", portrait(1)))
        assert page.outside == []
        assert page.complaints == []  # what the content policy blocks would be among them


def test_a_phone_shows_all_of_it(chromium, address, save, tmp_path):
    with visiting(chromium, address, width=390, has_touch=True) as page:
        choose(page, "aligned")
        upload(page, save("face.png", portrait(2)))
        loaded(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        order = ["#photo", "#restore", "#slider", "#status", "#degrade", "#foot"]
        boxes = [page.locator(each).bounding_box() for each in order]
        assert all(box["x"] >= 0 and box["x"] + box["width"] <= 390 for box in boxes)
        tops = [box["y"] for box in boxes]
        assert tops == sorted(tops)  # the result comes before the settings
        assert page.locator("#slider img").first.bounding_box()["width"] > 250


def test_visitors_at_once_get_their_own(chromium, address, studio, save):
    import httpx

    from tests.experiments.web.talking import restored

    def visit(person: int) -> bool:
        data = encoded(Image.fromarray(portrait(person)), "PNG")
        with httpx.Client(base_url=address, timeout=60) as client:
            before, after = restored(client, data)
        expected = studio.restore(Order(data, TINY_NAME))
        return np.array_equal(before, expected.before) and np.array_equal(after, expected.after)

    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(visit, person) for person in range(6)]
        with visiting(chromium, address) as one, visiting(chromium, address) as two:
            for page in (one, two):
                choose(page, "aligned")
            paths = [save(f"{person}.png", portrait(person)) for person in (10, 11)]
            for page, path in zip((one, two), paths, strict=True):
                page.set_input_files("#photo input[type=file]", path)
            for page, path in zip((one, two), paths, strict=True):
                page.get_by_text("One face restored").wait_for()
                expected = studio.restore(Order(path.read_bytes(), TINY_NAME))
                assert np.array_equal(pair(page)[1], expected.after)
        assert all(each.result() for each in others)
