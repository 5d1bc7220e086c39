"""``report.html`` as text: what it says, what it refuses, and that it cannot be broken into."""

import base64
import hashlib
import io
import json
import re
import statistics
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from experiments import report
from experiments.ablation.closing import closing_lines
from experiments.ablation.jobs import run_single
from experiments.reporting.ablation import write_report
from experiments.reporting.page import write_page
from experiments.reporting.page.curves import thinned
from experiments.reporting.page.found import read_folder
from experiments.reporting.page.glance import limits
from experiments.reporting.page.markup import data_block
from experiments.reporting.page.networks import PUBLISHED, loss_networks
from experiments.reporting.page.pictures import Budget, data_uri
from experiments.reporting.page.settings import differences
from experiments.reporting.page.sliders import faces_data
from osdface.errors import UserError

NASTY = "<script>alert(1)</script>\"'&"


def page(output, **how):
    return write_page(output.path, **how).read_text("utf-8")


def data(text, name):
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', text, re.S)[1])


def test_all_parts_of_an_ablation_are_there(output):
    output.references()
    output.write(
        "config.yaml", "experiment: ablation_losses\ntask: ablation\nvariants: [mse, all]\n"
    )
    specification = {"identity": "mean cosine of embeddings by tiny_b (stand-in)", "psnr": "plain"}
    output.write("references/specification.json", specification)
    output.write("environment.json", {"command": ["python", "a b"], "packages": {"torch": "9.9"}})
    output.run("mse", colour=output.colours["mse"], psnr=25.25)
    output.run("full", "failed", "ValueError: no luck")
    output.write("full/error.txt", "Traceback: deep down")
    (output.path / "mse/wandb/offline-run-1").mkdir(parents=True)
    text = page(output)
    for said in ("25.25", "no luck", "deep down", "python &#x27;a b&#x27;", "9.9", "not started"):
        assert said in text
    assert "wandb sync" in text and "offline-run-1" in text
    assert re.search(r"identity cosine ↑ <small[^>]*>stand-in", text)
    assert not re.search(r"PSNR, dB ↑ <small", text)
    assert "Not comparable" in text and "74.5986" in text
    series = {(p["name"], p["seed"]) for p in data(text, "curve-data")["parts"]}
    assert series == {("mse", ""), ("full", "")}
    faces = data(text, "face-data")
    assert faces["columns"] == ["LQ", "mse", "HQ"] and [f["key"] for f in faces["faces"]] == [
        "a",
        "b",
    ]


def test_names_from_outside_are_text_and_nothing_else(output):
    output.references()
    config = {"experiment": NASTY, "scale": {"name": NASTY}, NASTY: {NASTY: NASTY}}
    output.write("config.yaml", json.dumps(config))
    output.write("references/specification.json", {"psnr": NASTY, NASTY: NASTY})
    output.write("environment.json", {"command": [NASTY], NASTY: NASTY})
    output.write("status.json", {"status": "failed", "reason": NASTY, "step": 3, "seconds": 1})
    output.write("error.txt", NASTY)
    output.write("metrics.csv", 'step,"loss/<script>alert(1)</script>"\n1,0.5\n2,0.25\n')
    output.pictures("samples", (1, 2, 3), keys=("<img src=x onerror=alert(1)>",))
    text = page(output)
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text)) == 3
    assert "<img src=x" not in text and "alert(1)</" not in text.replace("&lt;/", "")
    assert NASTY.replace("<", "\\u003c") not in text and text.count("&lt;script&gt;") > 5


def test_the_policy_names_exactly_the_scripts_and_styles_that_are_there(output):
    output.write("config.yaml", "experiment: osdface\n")
    text = page(output)
    policy = re.search(r'Security-Policy" content="([^"]*)"', text)[1].replace("&#x27;", "'")
    assert (
        policy.startswith("default-src 'none';") and "unsafe" not in policy and "http" not in policy
    )
    for kind, tag in (("script", "script"), ("style", "style")):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    outside = [url for url in re.findall(r"https?://[^\s\"'<)]+", text) if "w3.org" not in url]
    assert outside == [] and 'style="' not in text


@pytest.mark.parametrize("state", ["running", "failed", "finished"])
def test_a_single_run_in_any_state(output, state):
    output.write("config.yaml", "experiment: osdface\ntask: osdface\nscale: {name: tiny}\n")
    output.run(".", state, "RuntimeError: broke" if state == "failed" else None)
    output.write("metrics.csv", "step,seconds,loss/total,val/psnr\n5,1,nan,20.5\n9,2,0.5,\n10,3,0.")
    text = page(output)
    assert ("last validation (step 5)" in text) == (state != "finished")
    assert ("RuntimeError: broke" in text) == (state == "failed")
    (total, psnr) = data(text, "curve-data")["charts"]
    assert total["lines"] == [[0, [5, 9], [None, 0.5]]] and psnr["lines"] == [[0, [5], [20.5]]]


def test_an_evaluation_has_figures_and_no_curves(output):
    output.write("config.yaml", "experiment: osdface\ntask: osdface\nmode: test\n")
    output.write("status.json", {"status": "finished", "step": 0, "seconds": 2.0})
    output.write("metrics.json", {"psnr": 23.456})
    text = page(output)
    assert "23.46" in text and "mode test" in text
    assert 'id="curve-data"' not in text and 'id="face-data"' not in text


def test_stage_1_shows_its_parts_in_the_order_in_which_they_run(output):
    output.write("config.yaml", "experiment: vre\ntask: vre\n")
    output.write("status.json", {"status": "finished", "step": 3, "seconds": 2.0})
    output.write("metrics.json", {"hq/psnr": 19.5})
    for name in ("association", "lq_dictionary", "hq_dictionary"):
        output.write(f"{name}/metrics.csv", "step,loss/l1\n1,0.5\n")
        output.pictures(f"{name}/images", (9, 9, 9), keys=("step-000001", "step-000002"))
        output.pictures(f"{name}/codebook", (9, 9, 9), keys=("hq_usage-000002",))
    text = page(output)
    names = [part["name"] for part in data(text, "curve-data")["parts"]]
    assert names == ["hq_dictionary", "lq_dictionary", "association"]
    gallery = data(text, "gallery-data")
    assert len(gallery) == 6 and gallery[0]["name"] == "faces"
    assert [picture["step"] for picture in gallery[0]["pictures"]] == [1, 2]
    assert "hq/psnr" in text and "19.5" in text


def test_the_folder_of_one_variant_takes_the_references_above(output):
    output.references()
    output.run("full/seed-1", colour=output.colours["full"])
    output.write("full/seed-1/config.yaml", "task: ablation\nvariant: full\nexperiment: x\n")
    text = write_page(output.path / "full/seed-1").read_text("utf-8")
    assert data(text, "face-data")["columns"] == ["LQ", "full", "HQ"]
    assert "lq_roundtrip" not in text and "untrained" in text


def test_seeds_are_told_apart_and_one_reason_is_said_once(output):
    output.write("config.yaml", "task: ablation\nvariants: [mse, full]\n")
    for seed, psnr in enumerate((24.0, 26.0)):
        output.run(f"mse/seed-{seed}", psnr=psnr)
        output.run(f"full/seed-{seed}", "failed", "ValueError: both")
    text = page(output)
    assert f"25.00 ± {statistics.stdev((24.0, 26.0)):.2f}" in text
    assert "full seed-0, seed-1" in text and text.count("ValueError: both") == 1
    seeds = [(p["name"], p["seed"], p["place"]) for p in data(text, "curve-data")["parts"]]
    assert seeds == [
        ("mse", "seed-0", 0), ("mse", "seed-1", 0), ("full", "seed-0", 1), ("full", "seed-1", 1)
    ]  # fmt: skip


def test_pictures_stay_within_their_budget(output):
    output.write("config.yaml", "experiment: osdface\n")
    generator = np.random.default_rng(0)
    for place in ("references/samples/lq", "references/samples/hq", "samples"):
        (output.path / place).mkdir(parents=True)
        for face in range(6):
            noise = generator.integers(0, 255, (200, 200, 3), np.uint8)
            Image.fromarray(noise).save(output.path / place / f"{face}.png")
    found, budget = read_folder(output.path), Budget(200_000)
    faces, left_out = faces_data(found, budget)
    used = sum(len(uri) for face in faces["faces"] for uri in face["pictures"])
    assert 0 < len(faces["faces"]) < 6 == len(faces["faces"]) + left_out
    assert used + budget.left == 200_000 and all(len(f["pictures"]) == 3 for f in faces["faces"])


def test_small_pictures_keep_every_pixel_and_broken_ones_are_left_out(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    raw = base64.b64decode(data_uri(tmp_path / "a.png").partition(",")[2])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")), pixels)
    (tmp_path / "b.png").write_bytes(b"\x89PNG cut off")
    assert data_uri(tmp_path / "b.png") is None and data_uri(tmp_path / "c.png") is None


def test_thinning_keeps_ends_and_spikes_and_gaps():
    steps, values = list(range(10_000)), [1.0] * 10_000
    values[1234], values[7777] = 50.0, -3.0
    values[5000:5400] = [None] * 400
    kept_steps, kept = thinned(steps, values, 200)
    assert len(kept) <= 202 and kept_steps == sorted(set(kept_steps))
    assert (kept_steps[0], kept_steps[-1]) == (0, 9999)
    assert {50.0, -3.0, None} <= set(kept)
    assert thinned([1, 2], [0.5, None], 200) == ([1, 2], [0.5, None])


def test_an_axis_takes_near_references_and_leaves_far_ones_out():
    low, high = limits(20.0, 21.0, [19.0, 23.0, 60.0])
    assert low < 19.0 and 23.0 < high < 60.0
    low, high = limits(20.0, 20.0, [20.5, 40.0])
    assert low < 20.0 and 20.5 < high < 40.0
    low, high = limits(0.0, 0.0, [])
    assert low < 0.0 < high


def test_differences_are_those_keys_alone():
    configs = {
        "a": {"x": {"y": 1, "z": 2}, "output_dir": "1"},
        "b": {"x": {"y": 3, "z": 2}, "n": None},
    }
    assert differences(configs) == {"x.y": {"a": "1", "b": "3"}, "n": {"a": "–", "b": "None"}}


def test_stand_ins_of_the_losses_are_those_of_the_networks_themselves():
    from osdface.networks.identity import load_identity
    from osdface.networks.perceptual import load_trunk

    assert load_trunk("tiny").is_stand_in and load_identity("tiny_a").is_stand_in
    assert not {"tiny", "tiny_a", "tiny_b", "vgg16_hed"} & set(PUBLISHED)
    stage2 = {"perceptual_loss": "tiny", "identity_loss": "w600k_mbf"}
    config = {"task": "osdface", "scale": {"stage2": stage2, "stage1": {"perceptual": "vgg16"}}}
    assert loss_networks(config) == {"perceptual": "tiny", "identity": "w600k_mbf"}
    assert loss_networks(config | {"task": "vre"}) == {"perceptual": "vgg16"}


def test_json_in_the_page_cannot_end_its_element():
    block = data_block("x", {"a": "</script><!--&"})
    assert (
        block.count("<") == 2
        and json.loads(block[block.index(">") + 1 : -9])["a"] == "</script><!--&"
    )
    with pytest.raises(ValueError):
        data_block("x", float("nan"))


def test_the_report_of_an_ablation_has_the_page_and_says_where_it_is(output, monkeypatch):
    monkeypatch.setattr("experiments.reporting.ablation.ablation_chart", lambda *args: None)
    monkeypatch.setattr("experiments.reporting.ablation.curves_chart", lambda *args: False)
    output.run("mse")
    write_report(output.path)
    assert "[report.html](report.html)" in (output.path / "summary.md").read_text()
    assert "page     report.html" in closing_lines(output.path)


def test_a_page_that_cannot_be_made_hides_neither_result_nor_error(output, monkeypatch, capsys):
    output.write("config.yaml", "experiment: osdface\n")
    cfg = SimpleNamespace(mode="fit", task="osdface")

    def run(cfg, folder):
        raise UserError("the run's own sentence")

    monkeypatch.setattr("experiments.cli.tasks.load", lambda task: run)
    with pytest.raises(UserError, match="own sentence"):
        run_single(cfg, output.path)
    assert "own sentence" in (output.path / "report.html").read_text("utf-8")
    monkeypatch.setattr("experiments.reporting.page.write_page", lambda folder: 1 / 0)
    with pytest.raises(UserError, match="own sentence"):
        run_single(cfg, output.path)
    assert "could not be written: ZeroDivisionError" in capsys.readouterr().err


def test_broken_files_do_no_harm(output):
    output.write("config.yaml", "task: [ablation\n")
    output.write("status.json", "{")
    output.write("environment.json", "[]")
    output.run("mse")
    output.write("mse/metrics.csv", "step,loss/total\n1,0.5\n2,abc\n")
    text = page(output, is_ablation=True)
    assert data(text, "curve-data")["charts"][0]["lines"] == [[0, [1], [0.5]]]


def test_the_command_writes_the_page_again_and_refuses_what_is_no_run(output, capsys):
    output.write("config.yaml", "experiment: osdface\n")
    assert report.main([str(output.path)]) == 0
    (output.path / "report.html").unlink()
    assert report.main([f"run={output.path}"]) == 0
    assert capsys.readouterr().out.splitlines() == [str(output.path / "report.html")] * 2
    assert [p.name for p in output.path.glob(".*")] == []
    empty = output.path / "empty"
    empty.mkdir()
    for wrong in (["run=nowhere"], [str(empty)], ["rum=x"], ["a", "b"]):
        assert report.main(wrong) == 2
        assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(UserError, match="neither config"):
        write_page(empty)
