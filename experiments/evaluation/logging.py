"""An evaluation as a run of Weights & Biases."""

from pathlib import Path

import numpy as np
from PIL import Image

from callbacks.wandb_run import WandbRun
from experiments.evaluation.results import Evaluation


def log_evaluation(evaluation: Evaluation, grids: list[Path], output: Path) -> list[str]:
    """Logs figures, what they rest on, and the pictures; returns lines about uploading."""
    config = {
        "suite": evaluation.suite,
        "images": evaluation.images,
        "stand_ins": evaluation.stand_ins,
        "specifications": {name: each.text() for name, each in evaluation.specifications.items()},
    }
    run = WandbRun(output, name=f"evaluate {output.name}", job_type="evaluate", config=config)
    with run:
        figures = {f"evaluation/{name}": value for name, value in evaluation.values.items()}
        run.log_values(figures, 0)
        run.summarize(figures)
        for path in grids:
            with Image.open(path) as image:
                run.log_image(path.stem, np.asarray(image), 0)
    return [f"to upload: {run.sync_command}"] if run.sync_command else []
