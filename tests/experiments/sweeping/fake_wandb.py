"""Stands in for the command ``wandb``: a server that draws three trials, and its agent.

``sweep FILE`` keeps the file and answers as W&B does; ``agent --count N PATH`` runs the file's
command with the values it draws and the environment that an agent sets. The run itself is the
tests' fake.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

kept = Path(os.environ["FAKE_WANDB"])
runs = kept / "runs.json"
if sys.argv[1] == "sweep":
    if "refused" in os.environ.get("FAKE_WANDB_DOES", ""):
        sys.exit("wandb: ERROR Error uploading sweep: permission denied")
    raw = yaml.safe_load(Path(sys.argv[-1]).read_text())
    (kept / "sweep.json").write_text(json.dumps(raw))
    print("wandb: Creating sweep with ID: abcd1234", file=sys.stderr)
    print("wandb: Run sweep agent with: wandb agent me/osdface/abcd1234", file=sys.stderr)
    sys.exit(0)
assert sys.argv[1] == "agent" and sys.argv[-1] == "me/osdface/abcd1234", sys.argv
raw = json.loads((kept / "sweep.json").read_text())
for _ in range(int(sys.argv[3])):
    told = json.loads(runs.read_text()) if runs.exists() else []
    run_id = f"run{len(told) + 1}"
    runs.write_text(json.dumps([*told, run_id]))
    values = {
        name: given.get("value", round(0.1 * (len(told) + 1), 3))
        for name, given in raw["parameters"].items()
    }
    words = [f"{name}={value}" for name, value in values.items()]
    command: list[str] = []
    for part in raw["command"]:
        command += words if part == "${args_no_hyphens}" else [part]
    at = command.index("-m")
    assert command[at + 1] == "experiments.sweep", command
    # Where trials are fakes too, the command's own program is one that knows them.
    if "FAKE_WANDB_SWEEP" in os.environ:
        command = [*command[:at], os.environ["FAKE_WANDB_SWEEP"], *command[at + 2 :]]
    told_to_run = {"WANDB_RUN_ID": run_id, "WANDB_SWEEP_ID": "abcd1234"}
    subprocess.run(command, env={**os.environ, **told_to_run}, check=False)
