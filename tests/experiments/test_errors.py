"""A mistake is one sentence on stderr with the nearest names, exit status 2, no traceback."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.cli.lock import FolderLock
from experiments.run import main
from osdface.errors import UserError

OSDFACE = "experiment=osdface"
ABLATION = "experiment=ablation_losses"
VRE = "experiment=ablation_vre"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["experiment=ablation_loses"], "did you mean ablation_losses"),
        (["experiment=zzz"], "there are: ablation_losses, ablation_vre"),
        (["seed=1"], "Choose an experiment"),
        ([OSDFACE, "scale=tini"], "did you mean tiny?"),
        ([OSDFACE, "data=portrait"], "no data source 'portrait'; did you mean portraits?"),
        ([OSDFACE, "trainer=dpp"], "did you mean ddp"),
        ([OSDFACE, "variant=no_idd"], "did you mean no_id?"),
        ([OSDFACE, "losses.ea_dist=1"], "did you mean losses.ea_dists"),
        ([OSDFACE, "preset=x"], "data.degradation.preset"),
        ([OSDFACE, "data.root=x"], "belongs to data=folder"),
        ([OSDFACE, "data=folder"], "data=folder needs data.root=DIR"),
        ([OSDFACE, "data=shards"], "data=shards needs data.urls="),
        ([OSDFACE, "data=shards", "data.urls=x", "data.target=retuched"], "mean retouched"),
        ([OSDFACE, "data=folder", "data.root=my facs"], "holds my faces"),
        ([OSDFACE, "scale.stage2.steps=many"], "must be a whole number"),
        ([OSDFACE, "data.flip=7"], "must be true or false"),
        ([OSDFACE, "losses={gun: 1}"], "gun"),
        ([OSDFACE, "mode=fitt"], "did you mean fit?"),
        ([OSDFACE, "mode=test"], "needs checkpoint="),
        ([OSDFACE, "mode=test", "checkpoint=gone.ckpt"], "there is no"),
        ([OSDFACE, "logger.mode=ofline"], "did you mean offline"),
        ([OSDFACE, "variants=mse"], "takes variant=NAME"),
        ([OSDFACE, "resume=outputs/gone"], "there is no"),
        ([OSDFACE, "output_dir=a file"], "is a file"),
        ([OSDFACE, "output_dir=my faces"], "no run's folder"),
        ([OSDFACE, "seed"], "is no key=value"),
        ([OSDFACE, "+seed=1"], "is no key"),
        ([OSDFACE, "zzzz=1"], "no key 'zzzz'; --help lists all"),
        ([OSDFACE, "seed="], "seed=null for none"),
        ([OSDFACE, "trainer.devices=0"], "trainer.devices"),
        ([ABLATION, "variants=mse,ful"], "did you mean full"),
        ([ABLATION, "variants=mse+gam"], "no loss term 'gam'; did you mean gan"),
        ([ABLATION, "variants=id+gan"], "starts with mse"),
        ([ABLATION, "variant=mse"], "variants=mse"),
        ([ABLATION, "losses.gan=0.5"], "losses.weights.gan="),
        ([ABLATION, "seed=1", "seeds=1,2"], "not both"),
        ([ABLATION, "mode=test"], "experiment=osdface"),
        (["experiment=pretrain_vae", "mode=test"], "these have: vq_dictionary"),
        ([ABLATION, "part=variant", "variant=mse"], "output_dir="),
        ([ABLATION, "part=gather", "output_dir=my faces"], "part=prepare"),
        ([ABLATION, "variants=distinct"], "no variant 'distinct'"),
        ([ABLATION, "vre_variant=none"], "variants=none"),
        ([VRE, "variants=distint"], "did you mean distinct?"),
        ([VRE, "variants=mse+id"], "no variant 'mse+id'"),
        ([VRE, "variants=factorial"], "there are: attention_pooling, default, distinct"),
        ([VRE, "variant=none"], "variants=none"),
        ([VRE, "vre.kind=none"], "choose variants="),
        ([VRE, "losses.gan=0"], "losses of full"),
        ([VRE, "part=variant", "variant=nothing", "output_dir=x"], "no variant 'nothing'"),
        ([OSDFACE, "vre.kind=distnct"], "no vre.kind 'distnct'; did you mean distinct?"),
        ([OSDFACE, "vre.dictionary=mq"], "vre.dictionary"),
        ([OSDFACE, "vre_variant=nome"], "no variant 'nome'; did you mean none?"),
        ([OSDFACE, "scale.stage2.steps=0"], "scale.stage2.steps=0 is wrong: at least 1"),
        ([OSDFACE, "scale.stage2.accumulate=0"], "at least 1"),
        ([OSDFACE, "scale.stage2.timestep=-1"], "from 0 to 999"),
        ([OSDFACE, "scale.stage2.timestep=1000"], "from 0 to 999"),
        ([OSDFACE, "scale.resolution=50"], "a multiple of 4"),
        ([OSDFACE, "scale.resolution=0"], "scale.resolution=0 is wrong"),
        ([OSDFACE, "scale.stage2.learning_rate=-1"], "at least 0"),
        ([OSDFACE, "scale.stage2.schedule=cosin"], "did you mean cosine?"),
        ([OSDFACE, "scale.stage2.best_mode=low"], "there are: max, min"),
        ([OSDFACE, "scale.stage2.ema_decay=1"], "scale.stage2.ema_decay=1.0 is wrong"),
        ([OSDFACE, "scale.stage1.lq_steps=-3"], "scale.stage1.lq_steps=-3 is wrong"),
        ([OSDFACE, "scale.stage1.batch_size=null"], "scale.stage1.batch_size=None is wrong"),
        ([OSDFACE, "seed=-1"], "from 0 to 4294967295"),
        ([ABLATION, "seeds=0,5000000000"], "from 0 to 4294967295"),
        ([OSDFACE, "trainer.precision=64-true"], "take 32-true or bf16-mixed"),
        ([OSDFACE, "vre.random=true", "vre.checkpoint=x"], "two VREs"),
    ],
)
def test_one_sentence(words, expected, fakes, tmp_path: Path, capsys) -> None:
    (tmp_path / "my faces").mkdir()
    (tmp_path / "my faces" / "1.png").touch()
    (tmp_path / "a file").touch()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert expected in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not out
    assert not fakes.configs
    assert not (tmp_path / "outputs").exists()


def test_a_task_may_raise_it_too(fakes, capsys) -> None:
    fakes.failing["osdface"] = UserError("Weight file 'x' was not found.")
    assert main([OSDFACE, "output_dir=run"]) == 2
    assert capsys.readouterr().err == "error: Weight file 'x' was not found.\n"
    assert json.loads(Path("run/status.json").read_text())["status"] == "failed"


def test_a_folder_in_use_is_left_alone(fakes, tmp_path: Path, capsys) -> None:
    fakes.failing["osdface"] = UserError("unfinished")
    main([OSDFACE])
    (folder,) = (tmp_path / "outputs/osdface").iterdir()
    lock = FolderLock(folder)
    assert lock.acquire()
    assert main([OSDFACE, f"output_dir={folder}"]) == 2
    assert "Another process" in capsys.readouterr().err
    main([OSDFACE])
    assert len(list((tmp_path / "outputs/osdface").iterdir())) == 2
    lock.release()


def test_help_is_quick_and_light() -> None:
    start = time.monotonic()
    code = "import sys; from experiments.run import main; main(['--help'])"
    code += "; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - start < 2
    assert "ablation_losses" in done.stdout
    assert not {"torch", "lightning", "hydra", "wandb"} & set(done.stderr.split())


def test_no_traceback_from_the_real_command() -> None:
    command = [sys.executable, "-m", "experiments.run", "experiment=vrre"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: There is no experiment 'vrre'; did you mean vre?\n"
