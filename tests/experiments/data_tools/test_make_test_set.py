"""A test set is the same bytes however it is made, and says what was done."""

import numpy as np
import pytest

from datamodules.decoding import decode_image
from experiments.make_test_set import main
from osdface.degradation import Parameters, apply, build_degradation, degrade, rng_for
from osdface.files import read_json, sha256_file

WORDS = ["resolution=40", "seed=3", "strength_scale=0.1"]


def make(source, output, *more):
    return main([f"source={source}", f"output={output}", *WORDS, *more])


def files(output):
    return {str(p.relative_to(output)): sha256_file(p) for p in output.rglob("*") if p.is_file()}


@pytest.fixture
def made(pictures, tmp_path):
    assert make(pictures, tmp_path / "one", "workers=1") == 0
    return tmp_path / "one"


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_workers_gives_the_same_bytes(made, pictures, tmp_path, workers):
    assert make(pictures, tmp_path / "other", f"workers={workers}") == 0
    assert files(tmp_path / "other") == files(made)


def test_pairs_follow_from_the_manifest(made):
    manifest = read_json(made / "manifest.json")
    assert manifest["count"] == len(manifest["images"]) == 12
    assert {name for name, _ in manifest["left_out"]} == {
        "cut.png", "cut.jpg", "empty.png", "text.jpg", "notes.txt", "LICENSE",
    }  # fmt: skip
    preset = build_degradation({"preset": "daefr_final", "strength_scale": 0.1})
    for image in manifest["images"]:
        high, low = (
            decode_image((made / part / f"{image['key']}.png").read_bytes())
            for part in ("hq", "lq")
        )
        assert high.shape == low.shape == (40, 40, 3)
        noise = rng_for(3, 0, image["key"], "noise")
        np.testing.assert_array_equal(low, apply(high, Parameters(**image["parameters"]), noise))
        np.testing.assert_array_equal(low, degrade(high, preset, 3, 0, image["key"]))
        assert image["lq_sha256"] == sha256_file(made / "lq" / f"{image['key']}.png")
    assert len({image["parameters"]["sigma_x"] for image in manifest["images"]}) == 12


def test_own_settings_of_second_order(pictures, tmp_path, capsys):
    own = tmp_path / "own.yaml"
    own.write_text("preset: waveface\nnoise: [3, 4]\nthen: {preset: difface, sigma: [0.1, 2]}\n")
    for workers in (1, 2):
        words = (f"degradation={own}", f"workers={workers}")
        assert make(pictures, tmp_path / f"{workers}", *words) == 0
    assert files(tmp_path / "1") == files(tmp_path / "2")
    manifest = read_json(tmp_path / "1" / "manifest.json")
    settings = build_degradation(
        {"preset": "waveface", "noise": [3, 4], "strength_scale": 0.1,
         "then": {"preset": "difface", "sigma": [0.1, 2]}}
    )  # fmt: skip
    for image in manifest["images"]:
        high, low = (
            decode_image((tmp_path / "1" / part / f"{image['key']}.png").read_bytes())
            for part in ("hq", "lq")
        )
        parameters = Parameters.from_dict(image["parameters"])
        assert 3 <= parameters.noise <= 4 and parameters.then and not parameters.then.then
        noise = rng_for(3, 0, image["key"], "noise")
        np.testing.assert_array_equal(low, apply(high, parameters, noise))
        np.testing.assert_array_equal(low, degrade(high, settings, 3, 0, image["key"]))
    assert make(pictures, tmp_path / "1", f"degradation={own}", "workers=1") == 0  # kept
    own.write_text("preset: waveface\n")
    assert make(pictures, tmp_path / "1", f"degradation={own}") == 2
    assert "other settings" in capsys.readouterr().err
    for text, told in (("nois: 3", "did you mean noise"), ("[", "no YAML"), ("3", "no keys")):
        own.write_text(text)
        assert make(pictures, tmp_path / "x", f"degradation={own}") == 2
        assert told in capsys.readouterr().err
    assert make(pictures, tmp_path / "x", "degradation=nowhere.yaml") == 2
    assert "nowhere.yaml cannot be read" in capsys.readouterr().err


def test_a_finished_set_is_kept_and_anything_else_refused(made, pictures, capsys):
    before = files(made)
    assert make(pictures, made) == 0 and files(made) == before
    assert make(pictures, made, "seed=4") == 2
    assert "other settings" in capsys.readouterr().err
    (made / "lq" / "00001.png").write_bytes(b"")
    assert make(pictures, made) == 2
    assert "00001.png was changed" in capsys.readouterr().err
    (made / "manifest.json").unlink()
    assert make(pictures, made) == 2
    assert "no whole test set" in capsys.readouterr().err


def test_mistakes_are_one_sentence(pictures, tmp_path, capsys):
    for words, told in (
        (["preset=daefr_finl"], "did you mean daefr_final"),
        (["sead=1"], "did you mean seed"),
        (["seed=-1"], "give 0 to"),
    ):
        assert make(pictures, tmp_path / "out", *words) == 2
        assert told in capsys.readouterr().err
    for path in pictures.rglob("*"):
        if path.is_file():
            path.write_text("broken")
    assert make(pictures, tmp_path / "out") == 2
    assert "None of the" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_set_of_more_pictures_than_there_are_now_is_refused(made, pictures, capsys):
    first = read_json(made / "manifest.json")["images"][0]["source"]
    (pictures / first).unlink()
    assert make(pictures, made) == 2
    assert "other settings or pictures" in capsys.readouterr().err
