"""The parts of stage 1, run apart and handed on."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from experiments.pipelines.stage1_parts import find_dictionary, start_folders
from osdface.checkpoints.export import load_vre, read_config
from osdface.errors import UserError
from osdface.files import read_json, write_json
from osdface.networks.autoencoder import VQConfig

# The discriminator acts from the first step, so that its weights are not those it began with.
CHANGES = {
    "scale.stage1.discriminator_start": 0,
    "scale.stage1.half_export": "false",
    "scale.vre.channels": "16,16",
    "scale.vre.entries": 64,
    "scale.vre.embedding_dim": 16,
    "scale.vre.norm_groups": 8,
    "scale.vre.init_from": "null",
}


RATE = "scale.stage1.learning_rate"


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.name: load_file(path) for path in sorted(folder.glob("*.safetensors"))}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache_dir) -> Path:
    """HQ alone, LQ alone, their association, and stage 1 whole."""
    from experiments.run import main
    from tests.experiments.pipelines.conftest import fast_words

    root = tmp_path_factory.mktemp("stage1")

    def run(experiment: str, name: str, **more: object) -> None:
        words = fast_words(cache_dir=cache_dir, output_dir=root / name, **CHANGES, **more)
        assert main([f"experiment={experiment}", *words]) == 0

    run("vq_dictionary", "hq", domain="hq")
    run("vq_dictionary", "lq", domain="lq")
    both = f"{root}/lq/export,{root}/hq/export"  # the folders say themselves what they hold
    run("association", "associated", init_from=both)
    run("vre", "whole")
    return root


def test_one_domain_trains_one_dictionary(runs) -> None:
    assert set(weights(runs / "hq/export")) == {
        "dictionary_hq.safetensors",
        "discriminator_hq.safetensors",
    }
    assert not (runs / "hq/lq_dictionary").exists()
    assert read_config(runs / "hq/export")["kind"] == "dictionary"
    with pytest.raises(UserError, match="holds only the HQ dictionary: a VRE needs the LQ one"):
        load_vre(runs / "hq/export")
    assert load_vre(runs / "lq/export").count == 77


def test_parts_run_apart_equal_the_whole(runs) -> None:
    """Bit for bit: another start of the discriminators or other data would differ at once."""
    apart, whole = weights(runs / "associated/export"), weights(runs / "whole/export")
    assert set(apart) == set(whole) and "discriminator_lq.safetensors" in apart
    assert all(same(apart[name], whole[name]) for name in whole)
    for domain in ("hq", "lq"):
        name = f"discriminator_{domain}.safetensors"
        before = load_file(runs / "whole" / f"{domain}_dictionary" / name)
        assert same(before, weights(runs / domain / "export")[name])
        assert not same(before, whole[name])


def test_dictionaries_and_discriminators_are_carried_on(runs, run_fast, tmp_path) -> None:
    """At a learning rate of 0 the association ends with the weights that it began with."""
    changes = CHANGES | {"init_from": f"{runs}/hq/export,{runs}/lq/export"}
    assert run_fast("association", tmp_path / "o", **changes, **{RATE: 0}) == 0
    carried = weights(tmp_path / "o/export")
    for domain in ("hq", "lq"):
        before = weights(runs / domain / "export")
        assert same(
            before[f"discriminator_{domain}.safetensors"],
            carried[f"discriminator_{domain}.safetensors"],
        )
        codebooks = [
            each[f"dictionary_{domain}.safetensors"]["quantizer.codebook"]
            for each in (before, carried)
        ]
        assert torch.equal(*codebooks)


def test_pictures_and_figures_of_an_association(runs) -> None:
    folder = runs / "whole/association"
    names = {path.name for path in (folder / "codebook").iterdir()}
    pictures = ("hq_usage", "lq_usage", "hq_entries", "lq_entries", "similarity")
    assert names == {f"{name}-000002.png" for name in pictures}
    assert (folder / "codebook.png").is_file()
    figures = read_config(runs / "whole/export")["figures"]
    assert 0 < figures["association/diagonal_share"] < 1
    assert figures["hq/psnr_mean_image"] > 5 and "lq/restarted" in figures


def test_absent_discriminators_start_anew_and_that_is_said(run_fast, tmp_path, capsys) -> None:
    words = {"domain": "hq", "init_from": "shipped:vre"}
    assert run_fast("vq_dictionary", tmp_path / "o", **words) == 0
    assert "no discriminator_hq.safetensors in" in capsys.readouterr().out
    assert "discriminator_hq.safetensors" in weights(tmp_path / "o/export")


def test_mistakes_are_sentences(runs, run_fast, tmp_path, capsys) -> None:
    def said(experiment: str, **changes: object) -> str:
        output = tmp_path / str(len(list(tmp_path.iterdir())))
        assert run_fast(experiment, output, **{**CHANGES, **changes}) == 2
        return capsys.readouterr().err

    assert "There is no domain 'bot'; did you mean both?" in said("vq_dictionary", domain="bot")
    assert "vq_dictionary only" in said("vre", domain="hq")
    hq = runs / "hq/export"
    assert "has no dictionary_lq.safetensors" in said("association", init_from=hq)
    assert "both hold dictionary_hq" in said("association", init_from=f"{hq},{hq}")
    filters = {"scale.stage1.discriminator_filters": 8, "init_from": hq, "domain": "hq"}
    assert "give the scale.stage1.discriminator_*" in said("vq_dictionary", **filters)


def test_a_folder_with_a_comma_is_one_folder(tmp_path) -> None:
    from omegaconf import OmegaConf

    folder = tmp_path / "a,b"
    folder.mkdir()
    write_json(folder / "config.json", {"format_version": 1, "vre": VQConfig().to_dict()})
    save_file({}, folder / "dictionary_hq.safetensors")
    cfg = OmegaConf.create({"init_from": str(folder), "weights_dir": None})
    assert start_folders(cfg) == [folder]
    assert find_dictionary([folder], "hq", VQConfig()) == folder
    with pytest.raises(UserError, match="have sizes"):
        find_dictionary([folder], "hq", VQConfig(entries=7))


def test_daefr_is_a_switch_away(runs, run_fast, tmp_path) -> None:
    both = f"{runs}/hq/export,{runs}/lq/export"
    switches = {
        "scale.stage1.association_learned_temperature": "false",
        "scale.stage1.association_gather": "false",
        "scale.stage1.swapped_commitment": "true",
    }
    assert run_fast("association", tmp_path / "o", init_from=both, **{**CHANGES, **switches}) == 0
    rows = (tmp_path / "o/association/metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("association/temperature")
    assert {row.split(",")[column] for row in rows[1:]} == {str(read_frozen())}
    assert read_json(tmp_path / "o/export/config.json")["kind"] == "vre"


def read_frozen() -> float:
    from osdface.losses.association import AssociationLoss

    return float(AssociationLoss().temperature().detach())


@pytest.mark.parametrize("name", ["hq", "associated"])
def test_validation_repeats_the_figures_of_the_run(runs, run_fast, tmp_path, name) -> None:
    """From the checkpoint, and from the export, which here is not halved."""
    experiment = "vq_dictionary" if name == "hq" else "association"
    folder = runs / name
    part = "hq_dictionary" if name == "hq" else "association"
    checkpoint = folder / part / "checkpoints" / "last.ckpt"
    before = read_json(folder / "metrics.json")
    for mode, source in (("validate", checkpoint), ("test", folder / "export")):
        changes = CHANGES | {"mode": mode, "checkpoint": source}
        assert run_fast(experiment, tmp_path / mode, **changes) == 0
        after = read_json(tmp_path / mode / "metrics.json")
        assert after["hq/psnr"] == pytest.approx(before["hq/psnr"], abs=1e-4)
        assert after["hq/usage"] == before["hq/usage"]
        assert ("lq/psnr" in after) == (name == "associated")


def test_validating_what_holds_no_dictionary_is_a_sentence(run_fast, tmp_path, capsys) -> None:
    changes = CHANGES | {"mode": "validate", "checkpoint": tmp_path}
    assert run_fast("vre", tmp_path / "v", **changes) == 2
    assert "holds no dictionary" in capsys.readouterr().err
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    changes["checkpoint"] = tmp_path / "other.ckpt"
    assert run_fast("vre", tmp_path / "w", **changes) == 2
    assert "no checkpoint of this framework" in capsys.readouterr().err
