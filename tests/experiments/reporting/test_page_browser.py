"""``report.html`` in a real browser: it draws, sorts, slides, fits a phone and asks for nothing."""

import io

import numpy as np
import pytest
from PIL import Image

from experiments.reporting.page import write_page

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
NASTY = "<script>document.title='broken into'</script>"


@pytest.fixture
def report(output):
    """The page of an ablation with two finished variants of two seeds, and a failed one."""
    output.references()
    output.write(
        "config.yaml", "experiment: ablation_losses\ntask: ablation\nvariants: [mse, full, bad]\n"
    )
    output.write("references/specification.json", {"identity": "by tiny_b (stand-in)"})
    for name, psnr in (("mse", 24.0), ("full", 23.0)):
        for seed in (0, 1):
            folder = f"{name}/seed-{seed}"
            output.run(folder, psnr=psnr + seed / 10, colour=output.colours[name])
            rows = [f"{step},{step},{1 / step},{20 + step / 10}" for step in range(1, 40)]
            output.write(
                f"{folder}/metrics.csv",
                "\n".join(["step,seconds,loss/mse/raw,val/psnr", *rows, ""]),
            )
            output.write(f"{folder}/config.yaml", f"seed: {seed}\nlosses: {{gan: {psnr}}}\n")
            output.pictures(f"{folder}/images", (9, 99, 199), keys=("step-000005", "step-000010"))
    output.run("bad", "failed", f"ValueError: {NASTY} {'x' * 200}")
    output.write("bad/error.txt", "very long line " * 100)
    output.write("environment.json", {"command": ["python", "x" * 300], "packages": {NASTY: "1"}})
    return write_page(output.path)


class Opened:
    """A page with what it said and asked for."""

    def __init__(self, browser, path, viewport=DESKTOP, scheme="light"):
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme)
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def pixels(self, selector):
        raw = self.page.locator(selector).first.screenshot()
        return np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).astype(int)

    def outside(self):
        return [url for url in self.asked if not url.startswith(("file:", "data:"))]


@pytest.fixture
def open_page(chromium, report):
    opened = []

    def start(**how):
        opened.append(Opened(chromium, report, **how))
        return opened[-1]

    yield start
    for each in opened:
        each.context.close()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_quietly_and_fits(open_page, viewport, scheme):
    opened = open_page(viewport=viewport, scheme=scheme)
    page = opened.page
    for fold in page.locator("summary").all():  # what is folded must fit too
        fold.click()
    page.wait_for_timeout(50)
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1] == viewport["width"]
    assert opened.said == [] and opened.outside() == []
    assert page.title().startswith("Ablation of the losses")
    assert page.evaluate("document.scripts.length") == 4
    background = opened.pixels("body")[2, 2]
    assert (background.min() > 230) if scheme == "light" else (background.max() < 60)
    text = page.evaluate("getComputedStyle(document.querySelector('h1')).color")
    assert (int(text.split("(")[1].split(",")[0]) < 90) == (scheme == "light")


def test_a_click_or_a_key_sorts_a_column(open_page):
    page = open_page().page
    table = page.locator("#results table").first
    names = table.locator("tbody th")
    assert names.all_inner_texts() == ["degraded", "untrained", "mse", "full", "bad"]
    head = table.locator("thead button", has_text="PSNR")
    head.click()
    assert names.all_inner_texts() == ["untrained", "degraded", "full", "mse", "bad"]
    assert table.locator("thead th").nth(1).get_attribute("aria-sort") == "ascending"
    head.press("Enter")
    assert names.all_inner_texts() == ["mse", "full", "degraded", "untrained", "bad"]
    table.locator("thead button", has_text="name").click()
    assert names.all_inner_texts() == ["bad", "degraded", "full", "mse", "untrained"]


def near(pixels, colour):
    return float((np.abs(pixels - np.array(colour)).max(-1) < 12).mean())


def test_divider_and_variant_change_what_is_seen(open_page, output):
    opened = open_page()
    page, colours = opened.page, output.colours
    before = opened.pixels(".compare")
    assert 0.35 < near(before, colours["lq"]) < 0.6 and 0.35 < near(before, colours["full"]) < 0.6
    page.locator("#divider").fill("90")
    after = opened.pixels(".compare")
    assert near(after, colours["lq"]) > 0.75 and near(after, colours["full"]) < 0.15
    page.locator("#divider").press("Home")
    assert near(opened.pixels(".compare"), colours["full"]) > 0.85
    page.locator("#right").select_option(label="mse")
    assert near(opened.pixels(".compare"), colours["mse"]) > 0.85
    page.locator(".strip button", has_text="HQ").click()
    assert near(opened.pixels(".compare"), colours["hq"]) > 0.85
    assert page.locator("#right option:checked").inner_text() == "HQ"
    assert "LQ and HQ, face a" in page.locator("#divider").get_attribute("aria-label")
    page.locator(".faces button").nth(1).click()
    assert "face b" in page.locator("#divider").get_attribute("aria-label")


def test_curves_have_a_line_a_training_and_can_be_hidden_smoothed_and_read(open_page):
    page = open_page().page
    chart = page.locator('.chart[data-key="loss/mse/raw"]')
    lines = chart.locator("path.line")
    runs = {
        (each.get_attribute("data-name"), each.get_attribute("data-seed")) for each in lines.all()
    }
    assert runs == {("mse", "seed-0"), ("mse", "seed-1"), ("full", "seed-0"), ("full", "seed-1")}
    drawn = lines.first.get_attribute("d")
    page.locator("#logarithmic").uncheck()
    linear = lines.first.get_attribute("d")
    assert linear != drawn
    page.locator("#smoothing").fill("0.9")
    assert lines.first.get_attribute("d") != linear and chart.locator("path.raw").count() == 4
    assert page.locator('.chart[data-key="val/psnr"] path.raw').count() == 0
    page.locator(".legend button", has_text="mse").click()
    assert {each.get_attribute("data-name") for each in lines.all()} == {"full"}
    chart.locator("svg").focus()
    page.keyboard.press("ArrowRight")
    assert chart.locator(".tip").inner_text().startswith("step 1\n")
    chart.locator("svg").hover(position={"x": 330, "y": 60})
    assert "full seed-1" in chart.locator(".tip").inner_text()


def test_pictures_of_the_training_are_looked_through_by_step(open_page):
    page = open_page().page
    shown = page.locator("#gallery-picture")
    assert "step 10" in shown.get_attribute("alt")
    page.locator("#gallery-step").fill("0")
    assert "step 5" in shown.get_attribute("alt")
    page.locator("#gallery-part").select_option(label="full seed-1")
    assert shown.get_attribute("alt") == "faces of full seed-1, step 10"


def test_controls_have_names(open_page):
    page = open_page().page
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('input, select, button, svg, [role=group]')]
        .filter((e) => !(e.ariaLabel || e.labels?.length || e.textContent.trim()))
        .map((e) => e.outerHTML.slice(0, 80))"""
    )
    assert nameless == []
