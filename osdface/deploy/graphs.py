"""The pipeline as a file for onnxruntime or torch.export: fixed resolution, any batch size.

The resolution is fixed because the networks were trained at one; padding and resampling belong to
whoever calls. No entry of the dictionary is looked for on the host, so a batch is a dimension like
any other.
"""

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from osdface.deploy.pipeline import RestorationPipeline
from osdface.errors import UserError

INPUT, OUTPUT = "images", "restored"
# diffusers' up-sampling branches at 64 images, and one graph is one branch.
LARGEST_BATCH = 63
OPSET = 18  # the first one with ScatterElements' minimum, which the selection needs
_ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def check_packages() -> None:
    """Raises UserError if a package that ONNX needs is missing."""
    missing = [name for name in _ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"format=onnx needs {', '.join(missing)}, which the extra [export] brings: "
            "pip install -e '.[export]'."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what exporters say about their own inside."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def exported_program(
    pipeline: RestorationPipeline, resolution: int
) -> torch.export.ExportedProgram:
    """Traces a pipeline on the CPU.

    Args:
        pipeline: On the CPU.
        resolution: Side of the images.

    Returns:
        A program of ``images`` (B, 3, R, R), 1 <= B <= :data:`LARGEST_BATCH`.
    """
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    example = torch.zeros(2, 3, resolution, resolution)
    with torch.no_grad(), _quiet():
        return torch.export.export(
            pipeline, (example,), dynamic_shapes={INPUT: {0: batch}}, strict=False
        )


def write_torch_export(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes a ``.pt2`` file, not atomically; it runs where torch alone is installed."""
    with _quiet():
        torch.export.save(program, path)


def _stable_sort(values: Any, stable: bool, dim: int, descending: bool = False) -> Any:
    """aten.sort.stable in ONNX: TopK of all, which puts the lower index first where values tie."""
    onnx = importlib.import_module("onnxscript").opset18
    length = onnx.Shape(values, start=dim, end=dim + 1)
    return onnx.TopK(values, length, axis=dim, largest=int(descending), sorted=1)


def write_onnx(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes an ONNX file, not atomically; weights of more than 2 GB lie beside it as ``.data``.

    Raises:
        UserError: A package is missing.
    """
    check_packages()
    with torch.no_grad(), _quiet():
        found = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.sort.stable: _stable_sort},
            verbose=False,
        )
        assert found is not None
        found.save(path)


def open_torch_export(path: Path) -> Callable[[Tensor], Tensor]:
    """Loads a ``.pt2`` file as a function of images."""
    module = torch.export.load(path).module()

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        return module(images)

    return run


def open_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """Loads an ONNX file in onnxruntime on the CPU as a function of images."""
    check_packages()
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        (restored,) = session.run([OUTPUT], {INPUT: images.numpy().astype(np.float32)})
        return torch.from_numpy(restored)

    return run
