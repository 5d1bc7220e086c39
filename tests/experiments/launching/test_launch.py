"""The whole command with ``launcher=slurm``, against stand-ins for sbatch and squeue."""

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from experiments.cli.compose import compose_words, plain
from experiments.cli.folders import dump_config
from experiments.cli.lock import FolderLock
from experiments.cli.words import parse_words
from experiments.launching import readiness
from experiments.launching import record as launching_record
from experiments.launching.record import Submitted, write_record
from experiments.run import main
from osdface.run_folder import update_status

ABLATION = ["experiment=ablation_losses", "launcher=slurm", "variants=mse,full,no_id"]


@pytest.fixture
def stage1(monkeypatch) -> dict[str, bool]:
    """Whether stage 1 is cached; how that is found out has a test of its own."""
    state = {"ready": False}
    monkeypatch.setattr(readiness, "stage1_ready", lambda cfg: state["ready"])
    return state


def record(folder: Path) -> dict[str, str]:
    return {
        job["job"]: job["name"] for job in json.loads((folder / "slurm.json").read_text())["jobs"]
    }


def names(slurm) -> dict[str, str]:
    """Name of each job by its number."""
    return {
        number: text.split("--job-name=")[1].split("\n")[0] for number, text in slurm.jobs().items()
    }


def finish(folder: Path, *variants: str) -> None:
    for variant in variants:
        (folder / variant).mkdir()
        update_status(folder / variant, status="finished")


def test_an_ablation_is_submitted_and_the_same_command_goes_on(slurm, stage1, capsys) -> None:
    assert main(ABLATION) == 0
    told = capsys.readouterr().out.splitlines()
    (folder,) = (Path.cwd() / "outputs/ablation_losses").iterdir()
    assert told[-1] == str(folder)
    assert names(slurm) == {"101": "stage1", "102": "variants", "103": "gather"}
    assert record(folder) == names(slurm)
    assert slurm.options("101") == ["--parsable"]
    on_invalid = "--kill-on-invalid-dep=yes"
    assert slurm.options("102") == ["--parsable", "--dependency=afterok:101", on_invalid]
    waits = "--dependency=afterany:101,afterany:102"
    assert slurm.options("103") == ["--parsable", waits, on_invalid]
    for text in slurm.jobs().values():
        assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
        assert f"output_dir={folder} " in text and "launcher" not in text
    assert f"--output={folder}/slurm/" in slurm.jobs()["101"] and (folder / "slurm").is_dir()
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["output_dir"] == str(folder) and saved["variants"] == ["mse", "full", "no_id"]
    for line in ("  102_1 full", "scancel 101 102 103", "stage1: job 101"):
        assert any(line in each for each in told), line

    # The first job says what it runs on.
    assert not (folder / "environment.json").exists()

    # All of it waits: nothing is submitted twice, and nothing else may write there.
    slurm.queue("101 RUNNING", "102_0 PENDING", "102_1 PENDING", "102_2 PENDING", "103 PENDING")
    assert main(ABLATION) == 0
    told = capsys.readouterr().out
    assert len(slurm.jobs()) == 3 and "full: job 102_1 PENDING" in told
    assert main([word for word in ABLATION if word != "launcher=slurm"]) == 2
    assert "stage1: job 101 RUNNING and 4 more" in capsys.readouterr().err

    # One is trained, one still at work, one has failed; jobs of others are none of ours.
    stage1["ready"] = True
    (folder / "references").mkdir()
    (folder / "references/metrics.json").write_text("{}")
    finish(folder, "mse")
    slurm.queue("102_1 RUNNING", "103 PENDING", "7 RUNNING", "1024_2 RUNNING")
    assert main(ABLATION) == 0
    assert list(names(slurm).values())[3:] == ["variants", "gather"]
    assert "--array=2\n" in slurm.jobs()["104"]
    assert slurm.options("104") == ["--parsable"]
    assert slurm.options("105")[1] == "--dependency=afterany:102:104"
    assert record(folder) == names(slurm)

    slurm.queue()
    finish(folder, "full", "no_id")
    (folder / "ablation.csv").write_text("variant\n")
    capsys.readouterr()
    assert main([*ABLATION, f"output_dir={folder}"]) == 0
    assert "finished: nothing to do" in capsys.readouterr().out
    assert len(slurm.jobs()) == 5


def test_a_refusal_loses_nothing(slurm, stage1, capsys) -> None:
    slurm.refuse("variants")
    assert main([*ABLATION, "output_dir=it's"]) == 2
    assert capsys.readouterr().err == (
        "error: sbatch refused: invalid partition specified: nowhere Batch job submission failed: "
        "Invalid partition name specified\n"
    )
    folder = Path.cwd() / "it's"
    assert record(folder) == {"101": "stage1"}
    slurm.refuse(None)
    slurm.queue("101 PENDING")
    assert main([*ABLATION, "output_dir=it's", "slurm.partition=main"]) == 0
    assert names(slurm) == {"101": "stage1", "102": "variants", "103": "gather"}
    assert slurm.options("102")[1] == "--dependency=afterok:101"


def test_a_job_that_cannot_be_noted_is_cancelled(slurm, stage1, monkeypatch, capsys) -> None:
    """The disk fills up between two jobs: the same command would submit that one twice."""
    scancel = Path(os.environ["PATH"].partition(":")[0]) / "scancel"
    scancel.write_text('#!/bin/sh\necho "$@" >> "$STAND_IN_FOLDER/cancelled"\n')
    scancel.chmod(0o755)
    real = launching_record.write_json

    def write_json(path, value):
        if len(value["jobs"]) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        real(path, value)

    with monkeypatch.context() as context:
        context.setattr(launching_record, "write_json", write_json)
        assert main([*ABLATION, "output_dir=run"]) == 2
    assert "free some space" in capsys.readouterr().err
    assert (slurm.folder / "cancelled").read_text() == "102\n"
    slurm.queue("101 PENDING")
    assert main([*ABLATION, "output_dir=run"]) == 0
    assert record(Path("run")) == {"101": "stage1", "103": "variants", "104": "gather"}


def test_a_restorer_is_chained_to_its_stage_1(slurm, stage1, monkeypatch, capsys) -> None:
    # What the job that submits is itself must not reach the new one.
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    words = ["experiment=osdface", "launcher=slurm", "slurm.after=17", "output_dir=run"]
    assert main(words) == 0
    assert names(slurm) == {"101": "stage1", "102": "osdface"}
    assert slurm.options("101")[1] == "--dependency=afterok:17"
    assert slurm.options("102")[1] == "--dependency=afterok:101"
    environment = slurm.environment("101")
    assert "SLURM_NTASKS=" not in environment and "SLURM_CONF=/etc/slurm.conf\n" in environment
    # It runs and holds its folder.
    lock = FolderLock(Path("run"))
    assert lock.acquire()
    slurm.queue("102 RUNNING")
    assert main(words) == 0
    assert "osdface: job 102 RUNNING" in capsys.readouterr().out and len(slurm.jobs()) == 2
    slurm.queue()
    assert main(words) == 2
    assert "Another process is writing into" in capsys.readouterr().err
    lock.release()
    stage1["ready"] = True
    assert main(words[:2]) == 0
    assert names(slurm)["103"] == "osdface" and slurm.options("103") == ["--parsable"]


@pytest.mark.parametrize("place", [["output_dir=run"], []])
def test_of_two_equal_commands_at_once_one_submits(
    slurm, stage1, monkeypatch, capsys, place
) -> None:
    """The other one comes while the first still looks at what is there, which takes seconds."""
    words, inner = ["experiment=osdface", "launcher=slurm", *place], []

    def check_needed(cfg):
        if not inner:
            inner.append(None)
            inner[0] = main(words)
            slurm.queue("101 RUNNING", "102 PENDING")

    monkeypatch.setattr(readiness, "check_needed", check_needed)
    assert main(words) == 0 and inner == [0]
    assert names(slurm) == {"101": "stage1", "102": "osdface"}
    assert "osdface: job 102 PENDING" in capsys.readouterr().out
    (folder,) = [Path("run")] if place else Path("outputs/osdface").iterdir()
    assert record(folder) == names(slurm)


def test_an_interactive_job_keeps_out_of_a_folder_with_jobs(
    slurm, fakes, monkeypatch, capsys
) -> None:
    """A shell in an allocation is no job of the run, whose own jobs pass."""
    Path("run").mkdir()
    write_record(Path("run"), [Submitted("osdface", "17")])
    slurm.queue("17 RUNNING")
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    words = ["experiment=osdface", "output_dir=run"]
    (Path("run") / "config.yaml").write_text(
        dump_config(plain(compose_words(parse_words(words))[0]))
    )
    assert main(words) == 2
    assert "Slurm has osdface: job 17 RUNNING" in capsys.readouterr().err and not fakes.configs
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert main(words) == 0 and len(fakes.configs) == 1


def test_stage_1_alone_is_one_job(slurm, capsys) -> None:
    assert main(["experiment=vre", "launcher=slurm", "slurm.nodes=2"]) == 0
    assert names(slurm) == {"101": "vre"}
    assert " trainer=ddp_sim " in slurm.jobs()["101"]


def test_a_dry_run_needs_no_slurm_and_writes_nothing(stage1, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*ABLATION, "slurm.dry_run=true"]) == 0
    told = capsys.readouterr().out
    assert told.count("#!/bin/bash\n") == 3 and "afterok:NUMBER_OF_STAGE1" in told
    assert list(tmp_path.iterdir()) == []
    assert main(ABLATION) == 2
    assert "needs sbatch, which is not on this machine's PATH" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["experiment=ablation_losses", "slurm.partitoin=x"], "did you mean slurm.partition"),
        (["experiment=osdface", "scale=sd21"], "scale=sd21 needs base.path=PATH"),
        (["experiment=osdface", "base.path=no/base.safetensors"], "no/base.safetensors"),
        (["experiment=osdface", "vre.checkpoint=no/vre"], "no/vre"),
        (["experiment=osdface", "part=gather"], "leave part=gather out"),
    ],
)
def test_a_mistake_is_told_before_anything_is_submitted(slurm, capsys, words, sentence) -> None:
    assert main([*words, "launcher=slurm"]) == 2
    assert sentence in capsys.readouterr().err
    assert slurm.jobs() == {} and not Path("outputs").exists()


def test_slurms_keys_need_its_launcher(slurm, capsys) -> None:
    assert main(["experiment=osdface", "slurm.nodes=2"]) == 2
    assert (
        "slurm.nodes= has no meaning here: it belongs to launcher=slurm" in capsys.readouterr().err
    )


def test_a_broken_record_is_told(slurm, stage1, capsys) -> None:
    assert main([*ABLATION, "output_dir=run"]) == 0
    Path("run/slurm.json").write_text('{"jobs": [{"name": 1}]}')
    assert main([*ABLATION, "output_dir=run"]) == 2
    assert "slurm.json cannot be read" in capsys.readouterr().err
    assert len(slurm.jobs()) == 3
