"""``launcher=slurm`` on a real Slurm: headers, dependencies, and an ablation on two nodes."""

import csv
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from callbacks import find_last
from experiments.launching.sbatch import ARRAY_WORDS, SlurmOptions, array_cases, script, srun_line
from experiments.launching.submit import queued, submit
from osdface.files import read_json
from tests.experiments.pipelines.conftest import fast_words
from tests.slurm.test_signals import wait_for_step

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def slurm(cluster, monkeypatch):
    """The cluster, for this process's own calls of sbatch and squeue too."""
    for name, text in cluster.environment.items():
        monkeypatch.setenv(name, text)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    return cluster


def launch(slurm, *words: str) -> list[str]:
    """Runs the command as a user would; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "experiments.run", "launcher=slurm", *words],
        cwd=ROOT, env=slurm.environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def wait(slurm, job: str, seconds: float) -> None:
    """Waits until neither the job nor a task of its array is in the queue."""
    end = time.monotonic() + seconds
    while queued([job]):
        assert time.monotonic() < end, slurm.run("squeue").stdout
        time.sleep(0.5)


def jobs_of(folder: Path) -> dict[str, str]:
    return {job["name"]: job["job"] for job in read_json(folder / "slurm.json")["jobs"]}


@pytest.mark.quick
def test_slurm_reads_the_header_and_starts_every_task_of_an_array(slurm, tmp_path) -> None:
    logs = tmp_path / 'it\'s 100% "#1" [x]'
    logs.mkdir()
    # A program of its own, which prints its words.
    shown = tmp_path / "show.py"
    shown.write_text("import sys, os\nprint(sys.argv[1:], os.environ['SLURM_PROCID'])\n")
    options = SlurmOptions(
        nodes=2, time="5", signal_seconds=60, extra=("--comment=it's  one word",),
        environment=f"export PYTHONPATH='{tmp_path}'; PATH='{Path(sys.executable).parent}':$PATH",
    )  # fmt: skip
    words = {"data.root": "it's $HOME", "part": "variant"}
    body = [
        *array_cases({0: {"variant": "mse"}, 2: {"variant": "a b"}}),
        srun_line(words, options, more=ARRAY_WORDS, module="show"),
    ]
    job = submit(script("show", body, options, log_folder=logs, array="0,2%1"))
    told = slurm.run("scontrol", "show", "job", "--oneliner", f"{job}_2").stdout
    assert "Comment=it's  one word" in told and "NumNodes=2" in told
    assert set(queued([job, "99999"])) <= {f"{job}_0", f"{job}_2"}
    wait(slurm, job, 180)
    for index, variant in ((0, "mse"), (2, "a b")):
        lines = (logs / f"show-{job}_{index}.out").read_text().splitlines()
        expected = ["data.root=it's $HOME", "part=variant", f"variant={variant}"]
        assert sorted(lines) == [f"{expected} {rank}" for rank in (0, 1)]


@pytest.mark.quick
def test_a_requeued_job_does_not_break_its_chain(slurm, tmp_path) -> None:
    """As after a preemption: the job ends without success, and later succeeds."""
    options = SlurmOptions(signal_seconds=0)
    first = ['[ -n "${SLURM_RESTART_COUNT:-}" ] || { touch "$MARK"; sleep 60; }']
    mark = tmp_path / "mark"
    text = script("first", [f"MARK={mark}", *first], options, log_folder=tmp_path)
    job = submit(text)
    then = submit(
        script("then", ["touch then"], options, log_folder=tmp_path).replace(
            f"--chdir={Path.cwd()}", f"--chdir={tmp_path}"
        ),
        dependency=f"afterok:{job}",
    )
    lost = submit(script("lost", ["false"], options, log_folder=tmp_path))
    never = submit(
        script("never", ["true"], options, log_folder=tmp_path), dependency=f"afterok:{lost}"
    )
    last = submit(
        script("last", ["true"], options, log_folder=tmp_path), dependency=f"afterany:{never}"
    )
    end = time.monotonic() + 120
    while not mark.exists():
        assert time.monotonic() < end
        time.sleep(0.1)
    assert slurm.run("scontrol", "requeue", job).returncode == 0
    for number, state in ((then, "COMPLETED"), (never, "CANCELLED"), (last, "COMPLETED")):
        assert slurm.wait(int(number), 240) == state, number
    assert (tmp_path / "then").exists()


@pytest.mark.quick
def test_variants_are_cancelled_when_stage_1_fails_and_gathering_still_runs(
    slurm, tmp_path
) -> None:
    folder, file = tmp_path / "out", tmp_path / "file"
    file.touch()
    words = fast_words(cache_dir=file / "cache", output_dir=folder)
    launch(slurm, "experiment=ablation_losses", "variants=mse,full", *words)
    jobs = jobs_of(folder)
    wait(slurm, jobs["gather"], 400)
    states = {name: slurm.wait(int(job), 60) for name, job in jobs.items()}
    logs = {log.name.partition("-")[0]: log.read_text() for log in (folder / "slurm").iterdir()}
    assert states == {"stage1": "FAILED", "variants": "CANCELLED", "gather": "FAILED"}
    assert "error: The portraits cannot be written below" in logs["stage1"], logs
    assert logs["gather"].count("not begun") == 2 and "variants" not in logs


@pytest.mark.slow
def test_an_ablation_on_two_nodes_ends_with_its_tables(slurm, tmp_path) -> None:
    """Stage 1, three variants one after the other, gathering; then the same command once more."""
    folder = tmp_path / "it's 100% [1]"
    words = [
        "experiment=ablation_losses", "variants=mse,full,no_id", "slurm.nodes=2",
        # All jobs of this test share one port.
        "slurm.array_parallel=1", *fast_words(cache_dir=tmp_path / "cache", output_dir=folder),
    ]  # fmt: skip
    told = launch(slurm, *words)
    assert told[-1] == str(folder)
    jobs = jobs_of(folder)
    assert list(jobs) == ["stage1", "variants", "gather"]
    wait(slurm, jobs["gather"], 540)
    logs = {log.name: log.read_text() for log in (folder / "slurm").iterdir()}
    assert slurm.wait(int(jobs["gather"]), 10) == "COMPLETED", logs
    with open(folder / "ablation.csv", encoding="utf-8") as file:
        rows = {row["variant"]: row for row in csv.DictReader(file)}
    assert {"degraded", "untrained", "mse", "full", "no_id"} <= rows.keys()
    for index, variant in enumerate(("mse", "full", "no_id")):
        assert rows[variant]["status"] == "finished"
        assert "GLOBAL_RANK: 1, MEMBER: 2/2" in logs[f"variants-{jobs['variants']}_{index}.out"]
        state = torch.load(find_last(folder / variant), weights_only=True)
        assert state["config"]["trainer"]["num_nodes"] == 2
    assert "Stage 1: training in" in logs[f"stage1-{jobs['stage1']}.out"]
    assert "finished: nothing to do" in "\n".join(launch(slurm, *words))

    # Another run finds stage 1 in the cache: its variants wait for nothing.
    other = tmp_path / "other"
    # Of a repeated word the last one counts.
    told = launch(slurm, *words, f"output_dir={other}", "slurm.dry_run=true")
    heads = [line for line in told if line.startswith("##### ")]
    assert heads[:2] == ["##### references: sbatch", "##### variants: sbatch"]
    assert not other.exists()


@pytest.mark.slow
def test_a_signal_to_one_task_of_an_array_requeues_that_task_alone(slurm, tmp_path) -> None:
    folder = tmp_path / "out"
    changes = {"scale.stage2.steps": 60, "scale.stage2.val_every": 30, "progress": None}
    launch(
        slurm, "experiment=ablation_losses", "variants=mse,full",
        f"vre.checkpoint={ROOT / 'osdface/assets/tiny/vre'}",
        *fast_words(cache_dir=tmp_path / "cache", output_dir=folder, **changes),
    )  # fmt: skip
    jobs = jobs_of(folder)
    wait_for_step(folder / "full", 3, 300)
    array = jobs["variants"]
    assert slurm.run("scancel", "--signal=USR1", f"{array}_1").returncode == 0
    wait(slurm, jobs["gather"], 500)
    logs = {log.name: log.read_text() for log in (folder / "slurm").iterdir()}
    assert slurm.wait(int(jobs["gather"]), 10) == "COMPLETED", logs
    cut, other = (logs[f"variants-{array}_{task}.out"] for task in (1, 0))
    (saved,) = re.findall(r"A signal came: saved at step (\d+)", cut)
    assert cut.count(f"full: going on after step {saved}\n") == 1, cut
    assert "full: step 60/60 100%" in cut and "mse: step 60/60 100%" in other
    assert f"Slurm job {array}_1 is requeued and goes on by itself." in cut
    assert "A signal came" not in other and "going on" not in other
    with open(folder / "ablation.csv", encoding="utf-8") as file:
        rows = {row["variant"]: row["status"] for row in csv.DictReader(file)}
    assert (rows["mse"], rows["full"]) == ("finished", "finished")
    lines = (folder / "full" / "metrics.csv").read_text().splitlines()[1:]
    steps = [line.partition(",")[0] for line in lines]
    assert [int(step) for step in dict.fromkeys(steps) if step] == list(range(1, 61))


@pytest.mark.slow
def test_variants_of_two_nodes_each_train_at_the_same_time(slurm, tmp_path, monkeypatch) -> None:
    """Methods at two budgets: four jobs of two tasks begin at once and share the run's folder."""
    # Each job has a port of its own, made of its number.
    monkeypatch.delitem(slurm.environment, "MASTER_PORT")
    folder = tmp_path / "out"
    words = [
        "experiment=compare_one_step", "variants=osdface,osediff", "budgets=images,seconds",
        f"vre.checkpoint={ROOT / 'osdface/assets/tiny/vre'}", "slurm.nodes=2",
        *fast_words(cache_dir=tmp_path / "cache", output_dir=folder,
                    **{"scale.stage2.steps": None, "scale.stage2.val_every": None,
                       "trainer.timeout_seconds": 120}),
    ]  # fmt: skip
    launch(slurm, *words)
    jobs = jobs_of(folder)
    wait(slurm, jobs["gather"], 300)
    logs = {log.name: log.read_text() for log in (folder / "slurm").iterdir()}
    assert slurm.wait(int(jobs["gather"]), 10) == "COMPLETED", logs
    with open(folder / "ablation.csv", encoding="utf-8") as file:
        rows = {row["variant"]: row["status"] for row in csv.DictReader(file)}
    names = ["osdface", "osdface_seconds", "osediff", "osediff_seconds"]
    assert [rows[name] for name in names] == ["finished"] * 4
    assert all("MEMBER: 2/2" in text for name, text in logs.items() if "variants" in name)
