"""Which jobs an experiment becomes, and what each waits for."""

import pytest

from experiments.cli.compose import compose_words
from experiments.launching.layout import check_layout, layout_words
from experiments.launching.plan import Situation, job_words, plan_ablation, plan_single
from osdface.errors import UserError

VARIANTS = {"mse": ("mse", 0), "full": ("full", 0), "no_id": ("no_id", 0)}
BIG = {"slurm.nodes": "2", "slurm.gpus_per_node": "8", "slurm.memory": "400G"}
FRESH = Situation(ready=False, has_references=False)


def config(words: dict[str, str], experiment: str = "ablation_losses"):
    words = {"experiment": experiment, "launcher": "slurm", **words}
    whole = layout_words(compose_words(words)[0], words)
    cfg, _ = compose_words(whole)
    check_layout(cfg)
    return cfg, whole


def shape(job) -> tuple[int, int, int]:
    return job.options.nodes, job.options.tasks_per_node, job.options.gpus_per_node


def test_an_ablation_is_stage_1_then_an_array_then_gathering(tmp_path) -> None:
    cfg, words = config(BIG)
    own = job_words(words, tmp_path)
    stage1, variants, gather = plan_ablation(own, cfg, VARIANTS, FRESH)
    assert [job.name for job in (stage1, variants, gather)] == ["stage1", "variants", "gather"]
    assert (stage1.after, variants.after) == ({}, {"stage1": "afterok"})
    assert gather.after == {"stage1": "afterany", "variants": "afterany"}
    assert shape(stage1) == shape(variants) == (2, 8, 8)
    # Tables and pictures want neither GPUs nor the memory of a training.
    assert shape(gather) == (1, 1, 0) and gather.options.memory == "8G"
    parts = [job.words["part"] for job in (stage1, variants, gather)]
    assert parts == ["prepare", "variant", "gather"]
    assert variants.tasks[1] == {"variant": "full", "seed": "0"}
    assert own["trainer"] == "ddp"
    assert (own["trainer.num_nodes"], own["trainer.devices"]) == ("2", "8")
    # A job that submitted again would never end.
    assert not [key for key in own if key.startswith(("slurm", "launcher", "resume"))]


def test_variants_do_not_wait_where_stage_1_is_cached(tmp_path) -> None:
    cfg, words = config(BIG)
    own = job_words(words, tmp_path)
    references, variants, gather = plan_ablation(
        own, cfg, VARIANTS, Situation(ready=True, has_references=False)
    )
    assert references.name == "references" and shape(references) == (1, 1, 1)
    assert variants.after == {} and len(variants.tasks) == 3
    assert gather.after == {"references": "afterany", "variants": "afterany"}


def test_only_what_is_missing_is_planned_again(tmp_path) -> None:
    cfg, words = config({"slurm.array_parallel": "2"})
    own = job_words(words, tmp_path)

    def names(**now):
        jobs = plan_ablation(own, cfg, VARIANTS, Situation(**now))
        return {job.name: (dict(job.after), sorted(job.tasks)) for job in jobs}

    # One is finished, one still runs, one has failed.
    found = names(finished=frozenset({"mse"}), queued=frozenset({"full"}),
                  alive=frozenset({"variants", "gather"}))  # fmt: skip
    assert found == {"variants": ({}, [2]), "gather": ({"variants": "afterany"}, [])}
    # All that is missing is queued.
    assert not names(finished=frozenset({"mse"}), queued=frozenset({"full", "no_id"}),
                     alive=frozenset({"variants", "gather"}))  # fmt: skip
    # Stage 1 is at work, the rest was cancelled.
    found = names(ready=False, has_references=False, alive=frozenset({"stage1"}))
    assert found["variants"] == ({"stage1": "afterok"}, [0, 1, 2]) and "stage1" not in found
    # All are trained, but the tables are not there.
    assert list(names(finished=frozenset(VARIANTS))) == ["gather"]
    assert not names(finished=frozenset(VARIANTS), reported=True)
    jobs = plan_ablation(own, cfg, VARIANTS, Situation())
    assert "--array=0-2%2\n" in jobs[0].text(tmp_path)


def test_a_single_run_waits_for_its_stage_1(tmp_path) -> None:
    cfg, words = config({}, "osdface")
    own = job_words(words, tmp_path)

    def plan(**now):
        return plan_single("osdface", own, cfg, Situation(**now))

    stage1, run = plan(ready=False)
    assert stage1.words["part"] == "prepare" and "part" not in run.words
    assert (run.name, run.after) == ("osdface", {"stage1": "afterok"})
    assert [job.after for job in plan()] == [{}]
    assert not plan(reported=True) and not plan(alive=frozenset({"osdface"}))
    assert [job.name for job in plan(ready=False, alive=frozenset({"stage1"}))] == ["osdface"]


@pytest.mark.parametrize(
    ("words", "trainer", "devices"),
    [
        ({}, "cpu", "1"),
        ({"slurm.nodes": "2"}, "ddp_sim", "1"),
        ({"slurm.gpus_per_node": "1"}, "gpu", "1"),
        ({"slurm.gpus_per_node": "4"}, "ddp", "4"),
        # A cluster that knows no GPUs by number.
        ({"slurm.tasks_per_node": "4", "trainer": "ddp"}, "ddp", "4"),
    ],
)
def test_the_trainer_fits_the_job(words, trainer, devices) -> None:
    _, whole = config(words)
    assert (whole["trainer"], whole["trainer.devices"]) == (trainer, devices)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ({"slurm.nodes": "0"}, "slurm.nodes=0 is wrong"),
        ({"slurm.gpus_per_node": "-1"}, "at least 0"),
        ({"slurm.gpus_per_node": "4", "slurm.tasks_per_node": "2"}, "a process has one GPU"),
        ({"slurm.gpus_per_node": "4", "trainer": "cpu"}, "leaves idle"),
        ({"slurm.nodes": "2", "trainer.num_nodes": "3"}, "contradicts slurm.nodes"),
        ({"part": "gather"}, "leave part=gather out"),
        ({"slurm.extra": "--comment='open"}, "slurm.extra=--comment='open is wrong"),
    ],
)
def test_what_does_not_fit_is_told(words, sentence) -> None:
    with pytest.raises(UserError, match=sentence):
        config(words)
