"""Lightning callbacks: what is watched and kept while training."""

from callbacks.checkpoints import StepCheckpoint, find_last
from callbacks.codebook_pictures import CodebookPictures
from callbacks.ema import EMA
from callbacks.guards import AccuracyBounds, GuardLog
from callbacks.image_grid import ImageGrid
from callbacks.preemption import Preemption
from callbacks.progress import StepProgress
from callbacks.run_log import RunLog
from callbacks.status import StatusFile
from callbacks.throughput import Throughput
from callbacks.wandb_run import WandbRun
from osdface.run_folder import read_status, sync_command, write_status

__all__ = [
    "EMA",
    "AccuracyBounds",
    "CodebookPictures",
    "GuardLog",
    "ImageGrid",
    "Preemption",
    "RunLog",
    "StatusFile",
    "StepCheckpoint",
    "StepProgress",
    "Throughput",
    "WandbRun",
    "find_last",
    "read_status",
    "sync_command",
    "write_status",
]
