"""The ablation's orchestration with fake tasks: statuses, resume, failures, processes."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from experiments.ablation import processes
from experiments.cli.lock import FolderLock
from experiments.cli.variants import DEFAULT, VRE
from experiments.cli.words import to_argv
from experiments.run import main
from osdface.run_folder import update_status

ABLATION = "experiment=ablation_losses"


def status(folder: str) -> dict:
    return json.loads((Path(folder) / "status.json").read_text())


def test_the_plain_command_runs_the_default_variants(fakes, tmp_path: Path, capsys) -> None:
    assert main([ABLATION]) == 0
    assert fakes.jobs == [(variant, 0) for variant in DEFAULT]
    (folder,) = (tmp_path / "outputs/ablation_losses").iterdir()
    assert fakes.prepared == fakes.reports == [folder]
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    assert {cfg.output_dir for cfg in fakes.configs} == {str(folder)}
    losses = {cfg.variant: cfg.losses for cfg in fakes.configs}
    assert (losses["full"].gan, losses["no_gan"].gan) == (1.0, 0.0)
    assert status(folder / "full")["status"] == "finished"
    assert json.loads((folder / "full/metrics.json").read_text()) == {"psnr": 20.0}
    assert yaml.safe_load((folder / "mse/config.yaml").read_text())["variant"] == "mse"
    assert json.loads((folder / "environment.json").read_text())["packages"]["torch"]
    # Nothing is written beside the run's folder, nor below it but what the contract names.
    assert [each.name for each in tmp_path.iterdir()] == ["outputs"]
    names = {each.name for each in folder.iterdir() if each.is_file()}
    assert names == {".lock", "config.yaml", "environment.json", "ablation.csv", "multirun.yaml"}


def test_the_vre_ablation_sweeps_its_own_variants(fakes, tmp_path: Path) -> None:
    assert main(["experiment=ablation_vre"]) == 0
    assert fakes.jobs == [(variant, 0) for variant in VRE]
    (folder,) = (tmp_path / "outputs/ablation_vre").iterdir()
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["variants"] == list(VRE)
    # Every variant has the losses of full and a prompt of its own.
    losses = {str(cfg.losses) for cfg in fakes.configs}
    assert len(losses) == 1 and fakes.configs[0].losses.gan == 1.0
    assert fakes.configs[0].losses.ea_lpips == 0.0
    vres = {cfg.variant: cfg.vre for cfg in fakes.configs}
    assert len({str(vre) for vre in vres.values()}) == len(VRE)
    assert vres["none"].kind == "none" and vres["hq_dictionary"].dictionary == "hq"
    assert not vres["no_association"].association and vres["distinct"].association
    assert {cfg.logger.group for cfg in fakes.configs} == {"ablation_vre"}


def test_a_vre_ablation_in_parts_with_seeds(fakes) -> None:
    words = ["experiment=ablation_vre", "variants=none,distinct", "seeds=0,1", "output_dir=v"]
    assert main([*words, "part=prepare"]) == 0
    assert main([*words, "part=variant", "variant=none", "seed=1"]) == 0
    assert fakes.jobs == [("none", 1)] and fakes.configs[0].vre.kind == "none"
    assert status("v/none/seed-1")["status"] == "finished"
    # The same words without a part do the rest.
    assert main(words) == 0
    assert fakes.jobs[1:] == [("none", 0), ("distinct", 0), ("distinct", 1)]


def test_seeds_and_generated_variants(fakes) -> None:
    assert main([ABLATION, "variants=mse,mse+gan+id", "seeds=3,4", "output_dir=b"]) == 0
    assert fakes.jobs == [("mse", 3), ("mse", 4), ("mse+id+gan", 3), ("mse+id+gan", 4)]
    assert status("b/mse+id+gan/seed-4")["status"] == "finished"
    fakes.jobs.clear()
    assert main([ABLATION, "variants=mse", "seed=5", "output_dir=c"]) == 0
    assert fakes.jobs == [("mse", 5)]
    assert status("c/mse")["status"] == "finished"


def test_a_failed_variant_is_kept_as_failed_and_the_others_go_on(fakes, capsys) -> None:
    words = [ABLATION, "variants=mse,full,no_id", "output_dir=run"]
    fakes.failing["full"] = ValueError("loss is nan\nand more")
    assert main(words) == 1
    assert [variant for variant, _ in fakes.jobs] == ["mse", "full", "no_id"]
    assert status("run/full")["status"] == "failed"
    assert status("run/full")["reason"] == "ValueError: loss is nan"
    assert "Traceback" in Path("run/full/error.txt").read_text()
    assert status("run/no_id")["status"] == "finished"
    assert len(fakes.reports) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == str(Path("run").absolute())
    assert "ValueError: loss is nan" in out
    assert "Traceback" not in out + err

    # The same command goes on: finished variants are skipped, the failed one is tried again.
    fakes.jobs.clear()
    fakes.failing.clear()
    assert main(words) == 0
    assert fakes.jobs == [("full", 0)]
    assert not Path("run/full/error.txt").exists()


def test_the_default_folder_is_gone_on_with(fakes, tmp_path: Path, capsys) -> None:
    words = [ABLATION, "variants=full"]
    fakes.failing["full"] = KeyboardInterrupt()
    assert main(words) == 130
    assert len(fakes.reports) == 1
    (folder,) = (tmp_path / "outputs/ablation_losses").iterdir()
    assert capsys.readouterr().out.splitlines()[-1] == str(folder)
    assert status(folder / "full")["status"] == "running"
    assert "interrupted" in status(folder / "full")["reason"]

    fakes.failing.clear()
    # Another configuration is another run; progress and logger do not count.
    assert main([*words, "scale.stage2.steps=7"]) == 0
    fakes.jobs.clear()
    assert main([*words, "progress=false", "logger.mode=disabled"]) == 0
    assert fakes.jobs == [("full", 0)]
    assert fakes.prepared[-1] == folder
    assert f"Going on in {folder}" in capsys.readouterr().out
    # All are finished now: the same command begins anew.
    assert main(words) == 0
    assert len(list(folder.parent.iterdir())) == 3


def test_another_configuration_is_refused_with_the_keys(fakes, capsys) -> None:
    words = [ABLATION, "variants=mse", "output_dir=run"]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "scale.stage2.steps=7", "seed=1"]) == 2
    assert "differs in scale.stage2.steps, seed:" in capsys.readouterr().err
    assert main([*words, "resume=never"]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main([ABLATION, "variants=full", "resume=run"]) == 2
    assert "differs in variants:" in capsys.readouterr().err
    # Equal and finished: nothing is trained again.
    fakes.jobs.clear()
    assert main([ABLATION, "variants=mse", "resume=run"]) == 0
    assert fakes.jobs == []
    assert main([ABLATION, "variants=mse", "resume=never"]) == 0
    assert fakes.jobs == [("mse", 0)]


def test_what_fails_before_or_after_the_variants(fakes, monkeypatch, capsys) -> None:
    def broken(*_: object) -> None:
        raise OSError("no picture")

    monkeypatch.setattr(fakes, "report", broken)
    assert main([ABLATION, "variants=mse", "output_dir=a"]) == 1
    assert "The report could not be written: OSError: no picture" in capsys.readouterr().err
    assert status("a/mse")["status"] == "finished"
    monkeypatch.setattr(fakes, "prepare", broken)
    with pytest.raises(OSError, match="no picture"):
        main([ABLATION, "variants=mse", "output_dir=b"])
    assert not Path("b/mse").exists()


def test_with_several_devices_each_part_is_a_process(fakes, monkeypatch) -> None:
    """The processes are run in this one: what counts is that their words run one part each."""
    started: list[dict] = []

    def run_words(words: dict) -> int:
        started.append(dict(words))
        GlobalHydra.instance().clear()
        return -9 if words.get("variant") == "no_id" else main(to_argv(words))

    monkeypatch.setattr(processes, "run_words", run_words)
    monkeypatch.setattr("experiments.ablation.sweep.run_words", run_words)
    fakes.failing["full"] = RuntimeError("rank 1 died")
    words = [ABLATION, "trainer=ddp_sim", "variants=mse,full,no_id", "output_dir=it's [1]"]
    assert main(words) == 1
    assert [each["part"] for each in started] == ["prepare", "variant", "variant", "variant"]
    assert len(fakes.prepared) == 1
    assert fakes.jobs == [("mse", 0), ("full", 0)]
    assert status("it's [1]/mse")["status"] == "finished"
    assert status("it's [1]/full")["reason"] == "RuntimeError: rank 1 died"
    assert "exit status -9" in status("it's [1]/no_id")["reason"]
    # What a batch system's last job runs.
    assert main([*words, "part=gather"]) == 1
    assert len(fakes.reports) == 2


def test_a_further_rank_writes_nothing(fakes, monkeypatch) -> None:
    words = [ABLATION, "trainer=ddp_sim", "variants=mse", "output_dir=run"]
    assert main([*words, "part=prepare"]) == 0
    before = sorted(Path("run").iterdir())
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main([*words, "part=variant", "variant=mse", "seed=0"]) == 0
    assert fakes.jobs == [("mse", 0)]
    assert sorted(Path("run").iterdir()) == before


def test_a_single_experiment(fakes, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "own"])
    seen: list[list[str]] = []
    run = fakes.run
    monkeypatch.setattr(fakes, "run", lambda *args: [seen.append(sys.argv[1:]), run(*args)][1])
    assert main(["experiment=vre"]) == 0
    (folder,) = (tmp_path / "outputs/vre").iterdir()
    # Lightning's further processes repeat sys.argv: they must find the same folder.
    assert seen == [["experiment=vre", f"output_dir={folder}"]]
    assert sys.argv == ["run.py", "own"]
    assert status(folder)["status"] == "finished"
    assert json.loads((folder / "metrics.json").read_text()) == {"psnr": 21.0}
    fakes.failing["osdface"] = ValueError("a bug")
    with pytest.raises(ValueError, match="a bug"):
        main(["experiment=osdface", "output_dir=run"])
    assert status("run")["status"] == "failed"


def test_offline_runs_are_named_in_order(fakes, capsys) -> None:
    def run_variant(cfg: object, folder: Path) -> dict:
        (folder / "wandb/offline-run-2_b").mkdir(parents=True)
        (folder / "wandb/offline-run-1_a").mkdir()
        return {}

    fakes.run_variant = run_variant
    assert main([ABLATION, "variants=mse", "output_dir=it is"]) == 0
    lines = capsys.readouterr().out.splitlines()
    base = f"{Path.cwd()}/it is/mse/wandb/offline-run-"
    assert lines[-2] == f"W&B was offline; to upload: wandb sync '{base}1_a' '{base}2_b'"


def test_a_variant_that_another_process_trains_is_left_alone(fakes, capsys) -> None:
    held = Path("run/mse")
    held.mkdir(parents=True)
    Path("run/config.yaml").touch()
    update_status(held, status="running", step=7)
    lock = FolderLock(held)
    assert lock.acquire()
    words = [ABLATION, "output_dir=run", "part=variant", "variant=mse"]
    assert main(words) == 1
    assert "Another process is training" in capsys.readouterr().err
    assert fakes.jobs == [] and status(held)["step"] == 7
    lock.release()
    assert main(words) == 0
    assert fakes.jobs == [("mse", 0)] and status(held)["status"] == "finished"


def test_the_status_of_another_process_outlives_a_second_one(fakes, monkeypatch) -> None:
    """With several devices a variant is a process of its own, which tells by its exit status."""
    held = Path("run/mse")
    held.mkdir(parents=True)
    update_status(held, status="running")
    monkeypatch.setattr(processes, "run_words", lambda words: 1)
    lock = FolderLock(held)
    assert lock.acquire()
    assert not processes.run_variant_apart({}, held)
    assert status(held)["status"] == "running"
    lock.release()
    assert not processes.run_variant_apart({}, held)
    assert status(held)["status"] == "failed"
