"""Stands in for experiments.run in the tests: its words, folder and status files, no training.

Its figures follow from its words, so that a test knows which trial is best. FAKE_RUN_DOES (JSON)
says what to do by trial name instead, the first time: ``fail``, ``mistake``, ``die`` or ``hang``.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

words = dict(word.split("=", 1) for word in sys.argv[1:])
folder = Path(words["output_dir"])
folder.mkdir(parents=True, exist_ok=True)
begun = folder / "begun.txt"
attempt = len(begun.read_text().splitlines()) if begun.exists() else 0
with begun.open("a") as file:
    file.write(f"{time.time()} {os.environ.get('CUDA_VISIBLE_DEVICES', '')}\n")


def status(name, reason=None, step=0):
    value = {"status": name, "reason": reason, "step": step, "seconds": 1.0}
    (folder / "status.json").write_text(json.dumps(value))


def interrupted(number, frame):
    status("running", "interrupted", step=1)
    sys.exit(130)


signal.signal(signal.SIGINT, interrupted)
plan = json.loads(os.environ.get("FAKE_RUN_DOES", "{}"))
does = plan.get(folder.name) if attempt == 0 else None
status("running")
if does == "mistake":
    (folder / "status.json").unlink()
    print("error: base.path=nowhere: there is no such folder.", file=sys.stderr)
    sys.exit(2)
if does == "fail":
    status("failed", "ValueError: loss is nan", step=2)
    print("Traceback (most recent call last):\nValueError: loss is nan", file=sys.stderr)
    sys.exit(1)
if does == "die":
    os.kill(os.getpid(), signal.SIGKILL)
time.sleep(60 if does == "hang" else float(os.environ.get("FAKE_RUN_SECONDS", "0")))
rank = float(words.get("scale.stage2.lora_rank", 0)) or 100 * float(words["losses.weights.gan"])
figures = {"psnr": 20 + rank, "perceptual": 1 / (rank + int(words.get("seed", 0)))}
(folder / "metrics.json").write_text(json.dumps(figures))
(folder / "metrics.csv").write_text("step,seconds,loss/total\n1,0.1,0.5\n3,0.2,0.25\n")
status("finished", step=3)
with begun.open("a") as file:
    file.write(f"{time.time()} ended\n")
