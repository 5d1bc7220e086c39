"""The methods' files are whole and true to the paper's tables; mistakes in one are one sentence."""

import sys
from pathlib import Path

import pytest
import yaml

from experiments.baselines.method_files import (
    FOLDER,
    OURS,
    known_methods,
    read_method,
    shipped_methods,
)
from experiments.baselines.methods import changed
from experiments.baselines.paper import published
from experiments.restoring.options import parse_options
from osdface.errors import UserError

GIVEN = {
    "name": "Mine", "repository": "https://example.org", "licence": "MIT",
    "command": "{python} run.py {input} {output}", "outputs": ".",
}  # fmt: skip


def test_the_ten_methods_of_the_tables_and_ours() -> None:
    methods = shipped_methods()
    assert len(methods) == 11 and list(methods)[-1] == OURS
    rows = {row.method: row for row in published("1")}
    assert [m.name for m in methods.values()][:-1] == list(rows)
    assert [row.method for row in published("2")] == list(rows)
    for method in list(methods.values())[:-1]:
        assert method.steps == rows[method.name].steps
        assert method.repository.startswith("https://github.com/") and method.licence
    assert {row.method for row in published("complexity")} < rows.keys()


# What each repository's own instructions say: the command's words, where its pictures land, and
# what it puts behind a name. Capitals are what the benchmark fills in.
SD21 = "--pretrained_model_name_or_path SD21"
FACTS = {
    "restoreformer_pp": (
        "inference.py -i IN -o OUT -v RestoreFormer++ -s 1 --aligned --save --bg_upsampler none",
        "restored_faces", "_00",
    ),
    "vqfr": ("demo.py -i IN -o OUT -v 2.0 -s 1 -f 0.1 --aligned", "restored_faces", "_00"),
    "codeformer": (
        "inference_codeformer.py -w 0.5 --has_aligned --input_path IN -o OUT", "restored_faces", ""
    ),
    "daefr": (
        "scripts/test.py --outdir OUT -r WEIGHTS -c configs/DAEFR.yaml --test_path IN --aligned",
        "restored_faces", "_00",
    ),
    "pgdiff": (
        "inference_pgdiff.py --task restoration --in_dir IN --out_dir OUT --guidance_scale 0.05",
        "s0.05-seed1234", "",
    ),
    "difface": (
        "inference_difface.py -i IN -o OUT --task restoration --eta 0.5 --aligned --use_fp16",
        "**", "",
    ),
    "diffbir": (
        "inference.py --task face --upscale 1 --version v2 --sampler spaced --steps 50 "
        "--captioner none --cfg_scale 4.0 --input IN --output OUT --precision fp32", ".", "",
    ),
    **dict.fromkeys(
        ("osediff", "osediff_face"),
        (
            f"test_osediff.py -i IN -o OUT --upscale 1 --osediff_path WEIGHTS {SD21} "
            "--ram_path RAM --ram_ft_path DAPE --align_method nofix", ".", "",
        ),
    ),
    "osdface": (
        f"infer.py -i IN -o OUT {SD21} --img_encoder_weight ENCODER --ckpt_path WEIGHTS "
        "--merge_lora", ".", "",
    ),
}  # fmt: skip


def test_the_commands_are_those_of_the_repositories(tmp_path) -> None:
    methods = shipped_methods()
    assert list(FACTS) == [key for key in methods if key != OURS]
    for key, (command, outputs, suffix) in FACTS.items():
        method = methods[key]
        given = {f"paths.{name}": str(tmp_path / name.upper()) for name in method.paths}
        method = changed(method, {"checkout": str(tmp_path), "python": "/bin/py", **given})
        words = method.command_line(tmp_path / "IN", tmp_path / "OUT")
        found = " ".join(words).replace(f"{tmp_path}/", "")
        assert found == f"/bin/py {command}", key
        assert (method.outputs, method.suffix) == (outputs, suffix), key
    assert methods["daefr"].paths["weights"].endswith("DAEFR_model.ckpt")
    assert methods["osediff_face"].paths["weights"].endswith("osediff_face.pkl")
    assert methods["osdface"].paths["encoder"].endswith("associate_2.ckpt")
    wanted = {"restoreformer_pp": None, "pgdiff": 1000, "difface": 250, "diffbir": 50, "osdface": 1}
    assert {key: methods[key].steps for key in wanted} == wanted
    licences = {key: methods[key].licence for key in methods}
    for key in ("codeformer", "pgdiff", "difface"):
        assert "S-Lab" in licences[key] and "non-commercial" in licences[key]
    for key in ("daefr", "osdface"):
        assert licences[key] == "none stated"
    for key in ("restoreformer_pp", "vqfr", "diffbir", "osediff"):
        assert licences[key] == "Apache-2.0"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_key_of_a_file_is_explained(file) -> None:
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines and all("  # " in line for line in lines)
    assert set(yaml.safe_load(file.read_text("utf-8"))) == {
        *("name", "repository", "licence", "steps", "checkout", "python", "command", "outputs"),
        *("suffix", "paths"),
    }


def test_a_command_is_filled_in_word_by_word(tmp_path) -> None:
    checkout = tmp_path / "check out"
    (checkout / "weights/CodeFormer").mkdir(parents=True)
    method = shipped_methods()["codeformer"]
    assert "clone https://github.com/sczhou/CodeFormer" in method.lacking()
    method = changed(method, {"checkout": str(checkout)})
    assert f"no interpreter {checkout}/.venv/bin/python" in method.lacking()
    (checkout / "python").touch()
    method = changed(method, {"python": str(checkout / "python")})
    assert "paths.weights=weights/CodeFormer/codeformer.pth is not there" in method.lacking()
    (checkout / "weights/CodeFormer/codeformer.pth").touch()
    assert method.lacking() == ""
    line = method.command_line(tmp_path / "in put", tmp_path / "{out}")
    assert line == [
        str(checkout / "python"), "inference_codeformer.py", "-w", "0.5", "--has_aligned",
        "--input_path", str(tmp_path / "in put"), "-o", str(tmp_path / "{out}"),
    ]  # fmt: skip


def test_a_path_starts_from_the_checkout_in_a_file_and_from_here_in_a_word(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.ckpt").touch()
    method = changed(
        shipped_methods()["daefr"],
        {"checkout": str(tmp_path / "c"), "paths.weights": "model.ckpt", "python": "/bin/sh"},
    )
    (tmp_path / "c").mkdir()
    assert method.lacking() == ""
    assert str(tmp_path / "model.ckpt") in method.command_line(tmp_path, tmp_path)
    words = {"checkout": "c", "python": "/bin/sh"}
    needed = changed(shipped_methods()["osdface"], words)
    assert needed.lacking() == "baseline.osdface.paths.sd21= is not given"
    needed = changed(needed, {"paths.sd21": "c"})
    assert "paths.encoder=pretrained/associate_2.ckpt is not there" in needed.lacking()


def test_ours_is_run_by_this_interpreter() -> None:
    method = shipped_methods()[OURS]
    assert method.lacking() == "baseline.osdface_ours.paths.checkpoint= is not given"
    method = changed(method, {"paths.checkpoint": "tiny"})
    assert method.lacking() == ""
    command = method.command_line(Path("in put"), Path("out"))
    assert command[:3] == [sys.executable, "-m", "experiments.restore"]
    options = parse_options(command[3:])
    assert (options.input, options.output, options.checkpoint) == ("in put", "out", "tiny")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": None}, "lacks name"),
        ({"commnd": "x"}, "did you mean command"),
        ({"command": "{python} x {input} {output} {wieghts}", "paths": {"weights": "w"}},
         "did you mean weights"),
        ({"command": "{python} x {input}"}, "does not name {output}"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_sentence(change, sentence, tmp_path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(GIVEN))
    assert read_method(file).key == "mine"
    assert "mine" in known_methods(str(tmp_path))
    file.write_text(yaml.safe_dump(GIVEN | change))
    with pytest.raises(UserError) as error:
        read_method(file)
    assert sentence in str(error.value)


def test_no_yaml_and_no_file(tmp_path) -> None:
    with pytest.raises(UserError, match=r"holds no \.yaml"):
        known_methods(str(tmp_path))
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(UserError, match="is no YAML file"):
        known_methods(str(tmp_path))
