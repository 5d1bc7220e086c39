"""Batch scripts: what bash makes of them, with a stand-in for srun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.launching.sbatch import (
    ARRAY_WORDS,
    SlurmOptions,
    array_cases,
    array_indices,
    header_word,
    script,
    srun_line,
)
from osdface.errors import UserError

AWKWARD = {
    "data.root": "it's a folder/with  spaces",
    "data.urls": "shards-{000..069}.tar?x=1&y=[2]",
    "logger.project": '"$HOME" `id` $(id) \\ !! ; # *',
    "cache_dir": "Müller/größe",
}


def run(slurm, text: str, *words: str, **variables: str) -> list[str]:
    """Runs a script with bash, given ``words``; returns the words that srun got."""
    done = subprocess.run(
        ["bash", "-s", "--", *words],
        input=text,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return (slurm.folder / "words").read_text().split("\0")[:-1]


def header(text: str) -> list[str]:
    found = [line for line in text.splitlines() if line.startswith("#SBATCH ")]
    return [line.removeprefix("#SBATCH ") for line in found]


def test_words_reach_the_command_as_they_are(slurm) -> None:
    text = script(
        "osdface", [srun_line(AWKWARD, SlurmOptions())], SlurmOptions(), log_folder=Path("/l")
    )
    assert run(slurm, text) == [
        "--kill-on-bad-exit=1", sys.executable, "-m", "experiments.run",
        *(f"{key}={value}" for key, value in AWKWARD.items()),
    ]  # fmt: skip


def test_each_task_of_an_array_gets_its_own_words(slurm) -> None:
    body = [
        *array_cases({0: {"variant": "mse"}, 3: {"variant": "it's $x", "seed": "1"}}),
        srun_line({"part": "variant"}, SlurmOptions(), more=ARRAY_WORDS),
    ]
    text = script("v", body, SlurmOptions(), log_folder=Path("/l"), array="0,3")
    assert "--array=0,3" in header(text) and "--output=/l/v-%A_%a.out" in header(text)
    words = run(slurm, text, SLURM_ARRAY_TASK_ID="3")
    assert words[-3:] == ["part=variant", "variant=it's $x", "seed=1"]
    assert run(slurm, text, SLURM_ARRAY_TASK_ID="0")[-2:] == ["part=variant", "variant=mse"]


def test_environment_and_prefix(slurm, tmp_path) -> None:
    # What conda's scripts do, and a strict shell would not let them.
    environment = 'if [ -n "$NO_SUCH_VARIABLE" ]; then exit 1; fi; export FROM_LINE=yes'
    options = SlurmOptions(environment=environment, prefix="apptainer exec --nv 'my image.sif'")
    body = ['echo "$FROM_LINE $OMP_NUM_THREADS $SRUN_CPUS_PER_TASK" > told', srun_line({}, options)]
    text = script("x", body, options, log_folder=tmp_path)
    assert run(slurm, text, SLURM_CPUS_PER_TASK="6", OMP_NUM_THREADS="")[1:] == [
        "apptainer", "exec", "--nv", "my image.sif", "python", "-m", "experiments.run",
    ]  # fmt: skip
    assert Path("told").read_text() == "yes 6 6\n"
    # With an environment, it decides which Python runs.
    words = run(slurm, script("x", [srun_line({}, SlurmOptions(environment="true"))],
                              SlurmOptions(environment="true"), log_folder=tmp_path))  # fmt: skip
    assert words[1] == "python"


def test_the_script_of_ones_own_activates_what_reads_unset_variables(slurm) -> None:
    text = (Path(__file__).parents[3] / "experiments/slurm/train.sbatch").read_text()
    environment = 'if [ -n "$NO_SUCH_VARIABLE" ]; then exit 1; fi'
    job = {"SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "4", "OSDFACE_ENV": environment}
    words = run(slurm, text, "output_dir=it's", **job)
    assert words[1:] == [
        "python", "-m", "experiments.run", "output_dir=it's",
        "trainer.num_nodes=2", "trainer.devices=4",
    ]  # fmt: skip
    job["OSDFACE_PREFIX"] = "apptainer exec osdface.sif"
    assert run(slurm, text, **job)[1:4] == ["apptainer", "exec", "osdface.sif"]


def test_an_environment_that_fails_ends_the_job(slurm, tmp_path) -> None:
    options = SlurmOptions(environment="source no/such/file")
    text = script("x", [srun_line({}, options)], options, log_folder=tmp_path)
    done = subprocess.run(["bash"], input=text, capture_output=True, text=True)
    assert done.returncode != 0 and "no/such/file" in done.stderr
    assert not (slurm.folder / "words").exists()


def test_the_header_asks_for_what_the_options_say(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = SlurmOptions(
        partition="gpu", account="faces", qos="long", nodes=2, gpus_per_node=8, tasks_per_node=8,
        cpus_per_task=6, memory="64G", time="24:00:00", extra=("--exclude=n1,n2",),
        signal_seconds=90,
    )  # fmt: skip
    text = script("full", ["true"], options, log_folder=Path("/logs/100% it's"))
    assert header(text) == [
        "--job-name=full", "--partition=gpu", "--account=faces", "--qos=long", "--nodes=2",
        "--ntasks-per-node=8", "--gpus-per-node=8", "--cpus-per-task=6", "--mem=64G",
        "--time=24:00:00", f"--chdir={tmp_path}", "--output=\"/logs/100%% it's/full-%j.out\"",
        "--signal=USR1@90", "--requeue", "--open-mode=append", "--exclude=n1,n2",
    ]  # fmt: skip
    plain = header(script("x", [], SlurmOptions(signal_seconds=0), log_folder=Path("/l")))
    assert not [line for line in plain if line.startswith(("--gpus", "--mem", "--signal", "--cp"))]


@pytest.mark.parametrize(
    ("indices", "parallel", "text"),
    [([0], None, "0"), ([0, 1, 2], 0, "0-2"), ([5, 0, 1, 3, 1], 4, "0-1,3,5%4")],
)
def test_array_indices(indices, parallel, text) -> None:
    assert array_indices(indices, parallel) == text


def test_options_are_quoted_as_sbatch_reads_them() -> None:
    assert header_word('--comment=a "b" #c\\') == r'''--comment="a \"b\" #c\\"'''
    assert header_word("--exclude=n[1-3],n7") == "--exclude=n[1-3],n7"
    with pytest.raises(UserError, match="line break"):
        header_word("--output=a\n#SBATCH --wrap=b")
