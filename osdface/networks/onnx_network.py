"""Networks in ONNX files, run by onnxruntime on the CPU."""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from osdface.errors import UserError


class OnnxNetwork(nn.Module):
    """Maps the first input (B, ...) to the first output (B, ...), without a gradient.

    Raises:
        UserError: onnxruntime is missing, or the file is no network.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.session = self._open()

    def _open(self) -> Any:
        try:
            runtime = importlib.import_module("onnxruntime")
        except ImportError:
            raise UserError(
                f"The network {self.path.name} needs onnxruntime: pip install onnxruntime."
            ) from None
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # it warns of every batch larger than the exported one
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            return runtime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime has a class of its own for each reason
            reason = str(error).splitlines()[0][:200]
            raise UserError(f"{self.path} is no ONNX file that can be run: {reason}.") from error

    def __getstate__(self) -> dict[str, Any]:
        # A session cannot be copied, and metrics are.
        return {key: value for key, value in self.__dict__.items() if key != "session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.session = self._open()

    def forward(self, x: Tensor) -> Tensor:
        given = self.session.get_inputs()[0]
        images = x.detach().float().cpu().numpy()
        whole = not isinstance(given.shape[0], int)
        # Some files were exported for one image alone.
        parts = [images] if whole else [images[i : i + 1] for i in range(len(images))]
        outputs = [torch.from_numpy(self.session.run(None, {given.name: p})[0]) for p in parts]
        return torch.cat(outputs).to(x)
