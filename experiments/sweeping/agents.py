"""A Bayesian sweep: W&B's server draws the trials, its agents start them, each calls us back.

``wandb sweep`` gets a copy of the file whose command is ``experiments.sweep part=agent``: that
turns the values it is given, and the run id in its environment, into a run in a folder of the
sweep. In a job of Slurm the agent stands outside srun, and what it starts calls srun.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from experiments.cli.srun import in_slurm
from experiments.cli.words import to_argv
from experiments.launching.plan import LOGS
from experiments.launching.record import Submitted, alive_jobs, read_record, write_record
from experiments.launching.sbatch import SlurmOptions, array_indices, script, srun_line
from experiments.launching.submit import check_installed, submit
from experiments.sweeping import books, driver
from experiments.sweeping.books import Book
from experiments.sweeping.cluster import GATHER, TRIALS, gather_text, slurm_configuration
from experiments.sweeping.options import Options
from experiments.sweeping.trials import Trial, trial_words
from osdface.errors import UserError
from osdface.files import read_json, write_json, write_text

SERVER, FILE, JOBS = "server.json", "wandb_sweep.yaml", "jobs"
_AGENT = re.compile(r"wandb agent (\S+/\S+/\S+)")
_PATIENCE_S = 300
_MODULE = "experiments.sweep"
# What the agent tells the run: a requeued job has to find all of it again.
_TOLD = (
    "WANDB_RUN_ID",
    "WANDB_SWEEP_ID",
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "WANDB_SWEEP_PARAM_PATH",
)


def check_account() -> None:
    """Raises a :class:`UserError` if W&B's server cannot be asked."""
    from callbacks.wandb_folder import resolve_mode  # only now: it imports lightning

    if resolve_mode("auto") != "online":
        raise UserError(
            "method: bayes needs W&B's server, which draws the trials: log in by `wandb login` (or "
            "set WANDB_API_KEY, and unset WANDB_MODE), or take method=random count=N."
        )


def wandb_words() -> list[str]:
    """Returns the words that start W&B's command."""
    found = shutil.which("wandb")
    return [found] if found else [sys.executable, "-m", "wandb"]


def server_file(book: Book, options: Options, python: Sequence[str]) -> dict[str, Any]:
    """Returns the sweep as W&B's server gets it.

    Args:
        book: The sweep.
        options: The user's; further words are constant parameters.
        python: Words that start Python where the agent will stand.
    """
    raw = {key: value for key, value in book.definition.raw.items() if key != "program"}
    varied = {key: value for key, value in raw["parameters"].items() if key != "resume"}
    fixed = {key: {"value": text} for key, text in book.further.items()}
    sweep = [f"sweep={options['sweep']}", f"output_dir={book.folder}"]
    command = [*python, "-m", "experiments.sweep", "part=agent", *sweep, "${args_no_hyphens}"]
    return {**raw, "method": "bayes", "parameters": {**varied, **fixed}, "command": command}


def on_server(book: Book, options: Options, python: Sequence[str]) -> str:
    """Returns the sweep's ``ENTITY/PROJECT/ID``, made at the first call.

    What is asked of Slurm is kept beside it, for the trials that agents start.

    Raises:
        UserError: The server does not take it, or cannot be reached.
    """
    path = book.folder / SERVER
    if path.is_file():
        sweep = str(read_json(path)["sweep"])
        write_json(path, {"sweep": sweep, "slurm": dict(options.slurm)})
        return sweep
    text = yaml.safe_dump(server_file(book, options, python), sort_keys=False)
    write_text(book.folder / FILE, text)
    project = book.further.get("logger.project", "osdface")
    words = [*wandb_words(), "sweep", "--project", project, str(book.folder / FILE)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise UserError(f"W&B's server did not answer within {_PATIENCE_S} s.") from None
    told = done.stdout + done.stderr
    found = _AGENT.search(told)
    if done.returncode or not found:
        last = [line.strip() for line in told.splitlines() if line.strip()][-1:]
        raise UserError(f"wandb sweep failed: {''.join(last) or f'exit {done.returncode}'}")
    write_json(path, {"sweep": found[1], "slurm": dict(options.slurm)})
    return found[1]


def run_agents(book: Book, options: Options, count: int) -> None:
    """Runs ``count`` trials by agents on this machine, ``parallel`` of them at a time."""
    sweep = on_server(book, options, [sys.executable])
    agents = min(options["parallel"], count)
    shares = [count // agents + (place < count % agents) for place in range(agents)]
    print(f"{sweep}: {count} trials by {agents} agents", flush=True)
    running = []
    try:
        for place, share in enumerate(shares):
            words = [*wandb_words(), "agent", "--count", str(share), sweep]
            print(shlex.join(words), flush=True)
            device = options.gpus[place % len(options.gpus)] if options.gpus else None
            more = {"CUDA_VISIBLE_DEVICES": device} if device is not None else {}
            running.append(subprocess.Popen(words, env={**os.environ, **more}))
        codes = [each.wait() for each in running]
    except BaseException:
        # Ctrl-C has reached the agents and their runs as well.
        for each in running:
            each.wait()
        raise
    if any(codes):
        print(f"an agent ended with exit status {max(map(abs, codes))}", file=sys.stderr)


def submit_agents(
    book: Book, options: Options, cfg: Any, count: int, again: Sequence[str]
) -> list[str]:
    """Submits an array of one agent a job, and the gathering; returns the lines to print.

    Args:
        book: The sweep.
        options: The user's.
        cfg: A trial's configuration under Slurm.
        count: How many trials.
        again: The words of the gathering job.
    """
    asked = SlurmOptions.from_config(cfg.slurm)
    python = shlex.split(asked.python)
    dry = bool(cfg.slurm.dry_run)
    sweep = "ENTITY/PROJECT/SWEEP" if dry else on_server(book, options, python)
    array = array_indices(range(1, count + 1), cfg.slurm.array_parallel)
    logs = book.folder / LOGS
    body = agent_lines(book, options, sweep, asked)
    text = script(TRIALS, body, asked, log_folder=logs, array=array)
    gather = gather_text(book.folder, cfg, again)
    if dry:
        return [f"##### trials\n{text}", f"##### gather, after all of them\n{gather}"]
    check_installed("sbatch", "squeue")
    record = read_record(book.folder)
    if lines := alive_jobs(record).lines:
        return [f"already queued   {line}" for line in lines]
    logs.mkdir(exist_ok=True)
    number = submit(text, dependency=f"afterok:{cfg.slurm.after}" if cfg.slurm.after else None)
    record.append(Submitted(TRIALS, number))
    write_record(book.folder, record)
    last = submit(gather, dependency=f"afterany:{number}")
    write_record(book.folder, [*record, Submitted(GATHER, last, f"afterany:{number}")])
    return [
        f"submitted        trials: job {number} ({count} agents of {sweep} in an array)",
        f"submitted        gather: job {last}, after {number}",
        f"logs             {logs}",
        f"cancel           scancel {number} {last}",
    ]


def agent_lines(book: Book, options: Options, sweep: str, asked: SlurmOptions) -> list[str]:
    """Returns the batch script's lines: the agent, outside srun, whose command calls srun.

    A requeued job goes on with the run that its agent was given: a second agent would be given
    another one, and the first would be lost.
    """
    jobs = shlex.quote(str(book.folder / JOBS))
    words = to_argv({"sweep": options["sweep"], "output_dir": str(book.folder)})
    return [
        f'noted={jobs}/"${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}_${{SLURM_ARRAY_TASK_ID:-0}}.json"',
        'if [ -f "$noted" ]; then',
        f"    exec {asked.python} -m {_MODULE} part=again {shlex.join(words)}",
        "fi",
        f"exec {asked.python} -m wandb agent --count 1 {shlex.quote(sweep)}",
    ]


def job_file(folder: Path) -> Path | None:
    """Returns where the run of this job of Slurm is noted, None outside Slurm."""
    if not in_slurm():
        return None
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ["SLURM_JOB_ID"]
    return folder / JOBS / f"{job}_{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}.json"


def trial_command(book: Book, options: Options) -> tuple[list[str], dict[str, str]]:
    """Returns the process of the trial that an agent asks for, and its environment.

    Args:
        book: The sweep.
        options: Of ``part=agent``, whose further words are the trial's; or of ``part=again``.

    Raises:
        UserError: No agent started this.
    """
    told = {key: os.environ[key] for key in _TOLD if key in os.environ}
    noted = job_file(book.folder)
    further = _as_in_the_file(book, options.further)
    if options["part"] == "again":
        if noted is None or not noted.is_file():
            raise UserError("part=again is for a requeued job of Slurm.")
        found = read_json(noted)
        told, further = found["environment"], found["words"]
    elif "WANDB_RUN_ID" not in told:
        raise UserError("part=agent is what W&B's agents start: give sweep= alone.")
    elif noted is not None:
        write_json(noted, {"environment": told, "words": further})
    trial = _noted_trial(book, told["WANDB_RUN_ID"], further)
    words = trial_words(book.definition, trial, further, book.folder)
    return _process(book, words, options), {**os.environ, **told}


def _as_in_the_file(book: Book, words: Mapping[str, str]) -> dict[str, str]:
    """The words of W&B's agent, which writes a null of the file as Python does."""
    nulls = {
        each.name
        for each in book.definition.parameters
        if None in each.settings.get("values", [each.settings.get("value", "")])
    }
    return {key: "null" if text == "None" and key in nulls else text for key, text in words.items()}


def _noted_trial(book: Book, run_id: str, further: Mapping[str, str]) -> Trial:
    drawn = {p.name: yaml.safe_load(further[p.name]) for p in book.definition.varied}
    path = books.drawn_path(book.folder, run_id)
    if not path.is_file():
        write_json(path, {"values": drawn})
    trial = Trial(0, drawn, run_id)
    books.note(book.folder, trial, None)
    return trial


def _process(book: Book, words: Mapping[str, str], options: Options) -> list[str]:
    if not in_slurm():
        return [*driver.COMMAND, *to_argv(words)]
    asked = replace(options, slurm=read_json(book.folder / SERVER)["slurm"])
    cfg, own = slurm_configuration(words, asked)
    return ["bash", "-c", srun_line(own, SlurmOptions.from_config(cfg.slurm))]
