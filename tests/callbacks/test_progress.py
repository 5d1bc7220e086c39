import io
import re

import pytest

from callbacks import StepProgress
from callbacks.progress import clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_lines_without_a_terminal(toy):
    module, fit = toy
    out = io.StringIO()
    fit(module(max_steps=20), StepProgress("full", file=out), val_every=10)
    lines = out.getvalue().splitlines()
    bars = [line for line in lines if "spent" in line]
    assert len(bars) == 10
    pattern = r"full: step 2/20  10%, \d+:\d\d spent, \d+:\d\d left, total=[\d.]+ mse=[\d.]+"
    assert re.fullmatch(pattern, bars[0])
    assert "full: validation at step 10: psnr 30, perceptual 0.09091" in lines
    assert "\r" not in out.getvalue()


def test_one_bar_on_a_terminal(toy):
    module, fit = toy
    out = Terminal()
    fit(module(max_steps=6), StepProgress("full", file=out), val_every=3)
    text = out.getvalue()
    assert re.search(r"full: 100%.*6/6 \[", text)
    assert "total=" in text and "full: validation: " in text
    # line breaks, less those that tqdm takes back: one bar, two validation lines
    assert text.count("\n") - text.count("\x1b[A") == 3


def test_switched_off_and_after_an_error(toy):
    module, fit = toy
    out = Terminal()
    fit(module(max_steps=3), StepProgress(enabled=False, file=out))
    assert out.getvalue() == ""
    bar = StepProgress(file=out)
    with pytest.raises(RuntimeError):
        fit(module(fail_at=2), bar)
    assert bar._bar is None and bar._validation_bar is None


def test_clock():
    assert [clock(5), clock(65), clock(3725)] == ["0:05", "1:05", "1:02:05"]
