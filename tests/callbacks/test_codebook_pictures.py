import numpy as np
import torch
from PIL import Image

from callbacks import CodebookPictures, RunLog
from callbacks.codebook_charts import convergence_chart, entries_sheet, usage_chart

COUNTS = torch.tensor([0.0, 40, 10, 0, 20, 1, 0, 5], dtype=torch.float64)


class Pictures(list):
    """Stands in for a W&B run."""

    def log_image(self, name: str, image: np.ndarray, step: int) -> None:
        self.append((name, image.shape, step))


def reporting(model, similarity=None):
    """Gives the toy the figures and the report of a stage-1 module."""
    entries = torch.linspace(-1, 1, 5).view(5, 1, 1, 1).expand(5, 3, 8, 8)
    real = model.on_validation_epoch_end

    def end() -> None:
        real()
        model.validation_metrics |= {"hq/usage": 0.6, "hq/psnr": 20.0, "hq/psnr_mean_image": 14.0}
        model.codebook_report = {
            "counts": {"hq": COUNTS},
            "entries": {"hq": entries},
            "similarity": similarity,
        }

    model.on_validation_epoch_end = end
    return model


def test_pictures_of_every_validation_are_on_disk_and_logged(toy, tmp_path) -> None:
    module, fit = toy
    log = Pictures()
    model = reporting(module(max_steps=4), torch.eye(4, dtype=torch.float64))
    fit(model, RunLog(tmp_path), CodebookPictures(tmp_path, log), val_every=2)
    names = sorted(path.name for path in (tmp_path / "codebook").iterdir())
    pictures = ("hq_entries", "hq_usage", "similarity")
    assert names == [f"{name}-{step:06d}.png" for name in pictures for step in (2, 4)]
    sizes = {path.name[:-11]: Image.open(path).size for path in (tmp_path / "codebook").iterdir()}
    assert sizes["hq_usage"] == (704, 396)
    assert sizes["similarity"] == (616, 550)
    assert Image.open(tmp_path / "codebook.png").height == 352
    logged = [(name, step) for name, _, step in log]
    assert ("codebook/hq_usage", 2) in logged and ("codebook/curves", 4) in logged
    assert all(shape[2] == 3 for _, shape, _ in log)


def test_a_module_without_a_report_is_left_alone(toy, tmp_path) -> None:
    module, fit = toy
    fit(module(max_steps=2), CodebookPictures(tmp_path), val_every=2)
    assert not list(tmp_path.iterdir())


def test_usage_is_drawn_as_it_is() -> None:
    """Twice the used entries are twice the coloured width; an empty count is drawn too."""

    def coloured(counts: np.ndarray) -> int:
        picture = usage_chart("hq", counts).astype(int)
        row = picture[-60]  # just above the axis, where every used entry has its bar
        return int(((row[:, 2] - row[:, 0]) > 60).sum())

    few, many = (np.where(np.arange(64) < used, 9.0, 0.0) for used in (16, 32))
    assert 1.9 < coloured(many) / coloured(few) < 2.1
    assert coloured(np.zeros(64)) == 0


def test_entries_stand_in_rows_of_eight() -> None:
    one = entries_sheet(COUNTS.numpy(), torch.zeros(5, 3, 8, 8))
    two = entries_sheet(COUNTS.numpy(), torch.zeros(9, 3, 8, 8))
    assert two.shape[0] - one.shape[0] == 64 + 4 and two.shape[1] >= 8 * 68
    assert (entries_sheet(np.zeros(4), torch.zeros(0, 3, 8, 8)) == 255).mean() > 0.9


def test_only_measured_panels_are_drawn(tmp_path) -> None:
    table = tmp_path / "metrics.csv"
    assert convergence_chart(table) is None
    table.write_text("step,val/hq/usage,loss/l1\n1,,0.5\n2,0.5,0.4\n4,0.75,0.3\n", "utf-8")
    one = convergence_chart(table)
    table.write_text("step,val/hq/usage,val/hq/psnr\n2,0.5,20\n4,0.75,21\n", "utf-8")
    two = convergence_chart(table)
    assert one is not None and two is not None and two.shape[1] == 2 * one.shape[1]
