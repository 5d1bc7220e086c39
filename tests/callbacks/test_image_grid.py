import numpy as np
import torch
from PIL import Image

from callbacks import ImageGrid
from callbacks.drawing import (
    EMPTY,
    cell_box,
    draw_grid,
    fit_cell,
    grid_margins,
    to_uint8,
)
from callbacks.image_grid import sample_file_name


def centre(grid, row, column, cell, left, top):
    x0, y0, x1, y1 = cell_box(row, column, cell, left, top)
    return tuple(int(v) for v in grid[(y0 + y1) // 2, (x0 + x1) // 2])


def flat(colour, size=16):
    return np.full((size, size, 3), colour, np.uint8)


def test_cells_stand_where_they_should():
    red, green, blue = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    grid = draw_grid([("LQ", [flat(red), flat(green)]), ("a long label " * 4, [None, flat(blue)])])
    left, top = grid_margins(None, 128)
    assert grid.shape == (top + 4 + 2 * 132, 4 + 2 * 132, 3)
    assert centre(grid, 0, 0, 128, left, top) == red
    assert centre(grid, 1, 0, 128, left, top) == green
    assert centre(grid, 0, 1, 128, left, top) == EMPTY
    assert centre(grid, 1, 1, 128, left, top) == blue


def test_scaling_repeats_pixels_at_whole_factors_only():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    doubled = np.asarray(fit_cell(image, 128))
    assert np.array_equal(doubled, image.repeat(2, 0).repeat(2, 1))
    assert fit_cell(image[:, :32], 100).size == (50, 100)
    # 48 px pictures get 144 px cells: three times, not two and two thirds
    assert draw_grid([("x", [flat((1, 2, 3), 48)])]).shape[1] == 4 + 144 + 4


def test_bytes_of_images():
    images = torch.tensor([-1.0, 0.0, 1.0, 7.0, float("nan")]).view(5, 1, 1, 1).expand(5, 3, 1, 1)
    assert to_uint8(images)[:, 0, 0, 0].tolist() == [0, 128, 255, 255, 128]


def test_grids_and_samples_of_a_run(toy, tmp_path):
    module, fit = toy
    model = module(max_steps=6)
    fit(model, ImageGrid(tmp_path), val_every=3)
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == [
        "step-000003.png",
        "step-000006.png",
    ]
    grid = np.asarray(Image.open(tmp_path / "images/step-000006.png"))
    left, top = grid_margins(None, 128)
    for column, name in enumerate(("lq", "restored", "hq")):
        x0, y0, x1, y1 = cell_box(1, column, 128, left, top)
        shown = grid[y0:y1:16, x0:x1:16]
        assert np.array_equal(shown, to_uint8(model.sample_images[name])[1]), name
    names = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert names == ["face-6.png", "face-7.png"]
    saved = np.asarray(Image.open(tmp_path / "samples/face-7.png"))
    assert np.array_equal(saved, to_uint8(model.sample_images["restored"])[1])


def test_a_module_without_pictures_is_left_alone(toy, tmp_path):
    module, fit = toy
    model = module(max_steps=2)
    model.validation_step = lambda batch, batch_idx: None
    fit(model, ImageGrid(tmp_path), val_every=2)
    assert not list(tmp_path.iterdir())


def test_sample_file_names():
    assert sample_file_name("../a/b c") == "_a_b_c.png"
    assert sample_file_name("Jörg_0001") == "Jörg_0001.png"
