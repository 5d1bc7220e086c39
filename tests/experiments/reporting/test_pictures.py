import numpy as np
from PIL import Image

from callbacks.drawing import EMPTY, GAP, cell_box, grid_margins
from experiments.reporting.ablation import write_report
from experiments.reporting.charts import _limits, read_curve


def test_comparison_has_a_row_a_face_and_a_column_a_variant(output):
    output.references()
    output.write("config.yaml", "variants: [mse, no_gan, full]\n")
    output.run("mse", colour=output.colours["mse"])
    output.run("no_gan", "failed", "boom")
    output.run("full", colour=output.colours["full"])
    (output.path / "full/samples/b.png").write_bytes(b"broken")
    write_report(output.path)
    image = np.asarray(Image.open(output.path / "comparison.png"))
    left, top = grid_margins(["a", "b"], 128)
    columns = ["lq", "mse", "no_gan", "full", "hq"]
    assert image.shape == (
        top + GAP + 2 * (128 + GAP),
        left + GAP + 5 * (128 + GAP),
        3,
    )
    for row, key in enumerate("ab"):
        for column, name in enumerate(columns):
            x0, y0, x1, y1 = cell_box(row, column, 128, left, top)
            missing = name == "no_gan" or (name, key) == ("full", "b")
            expected = EMPTY if missing else output.colours[name]
            assert tuple(image[(y0 + y1) // 2, (x0 + x1) // 2]) == expected, (key, name)


def test_comparison_takes_the_first_finished_seed_and_few_faces(output):
    keys = [f"face-{index:02d}" for index in range(12)]
    output.references(keys=keys, size=130)
    output.run("mse/seed-0", "failed", "boom")
    output.run("mse/seed-1")
    output.pictures("mse/seed-1/samples", output.colours["mse"], keys, size=130)
    write_report(output.path)
    image = np.asarray(Image.open(output.path / "comparison.png"))
    left, top = grid_margins(keys, 130)
    assert image.shape[0] == top + GAP + 8 * (130 + GAP)
    x0, y0, x1, y1 = cell_box(7, 1, 130, left, top)
    assert tuple(image[(y0 + y1) // 2, (x0 + x1) // 2]) == output.colours["mse"]


def test_charts_are_drawn_with_and_without_references(output):
    output.run("mse/seed-0", psnr=24.0)
    output.run("mse/seed-1", psnr=float("nan"))
    output.run("full", "failed", "boom")
    write_report(output.path)
    assert Image.open(output.path / "ablation.png").size[0] > 800
    output.references()
    write_report(output.path)
    assert Image.open(output.path / "curves.png").size[0] > 300


def test_colours_of_bars_are_on_the_chart(output):
    output.run("mse")
    output.run("full")
    write_report(output.path)
    image = np.asarray(Image.open(output.path / "ablation.png").convert("RGB")).reshape(-1, 3)
    for colour in ((31, 119, 180), (255, 127, 14)):  # the first two of matplotlib's tab10
        assert (np.abs(image.astype(int) - colour).max(1) <= 1).sum() > 1000


def test_axis_limits_show_everything():
    low, high = _limits([24.0, 25.0], [0.5, 0.1], [21.0])
    assert 0 < low < 21.0 and high > 25.1
    low, high = _limits([0.1, 0.2], [0.0, 0.0], [0.4])
    assert low == 0 and high > 0.4
    assert _limits([], [], []) == (0.0, 1.0)
    low, high = _limits([-0.2], [0.1], [0.3])
    assert low < -0.3 and high > 0.3


def test_curves_read_the_training_log(output):
    output.run("mse")
    curve = read_curve(output.path / "mse/metrics.csv", "loss/total")
    assert curve == ([1, 2], [0.5, 0.25])
    assert read_curve(output.path / "none.csv", "loss/total") == ([], [])
