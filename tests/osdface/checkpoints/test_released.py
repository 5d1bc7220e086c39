"""The released files' layout: names, shapes and function, without the files themselves."""

import pytest
import torch

from osdface.checkpoints.export import load_restorer, load_vre, save_restorer
from osdface.checkpoints.released import (
    load_prompt_convs,
    load_released_dictionary,
    load_released_embedder,
    save_prompt_convs,
    save_released_dictionaries,
)
from osdface.errors import UserError
from osdface.networks.autoencoder import VQAutoencoder, VQConfig
from osdface.networks.embedder import PromptConvs, select_entries
from tests.osdface.checkpoints.taming import Autoencoder, randomised

SMALL = VQConfig((8, 16, 24), 2, 40, 12, 8)
FULL = VQConfig()
ASIDE = {"vqvae_LQ.loss.discriminator.main.0.weight": torch.zeros(1), "logit_scale": torch.ones(1)}


def restated(config: VQConfig, seed: int = 0) -> Autoencoder:
    sizes = (config.layers_per_block, config.entries, config.embedding_dim, config.norm_groups)
    return randomised(Autoencoder(config.channels, *sizes), seed)


def released_state(hq: Autoencoder, lq: Autoencoder) -> dict[str, torch.Tensor]:
    halves = (("vqvae.", hq), ("vqvae_LQ.", lq))
    return {prefix + k: v for prefix, half in halves for k, v in half.state_dict().items()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Both small halves and a file of them."""
    hq, lq = restated(SMALL, 1), restated(SMALL, 2)
    path = tmp_path_factory.mktemp("small") / "associate.ckpt"
    torch.save({"state_dict": released_state(hq, lq) | ASIDE, "epoch": 3}, path)
    return hq, lq, path


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The released size: the LQ half, and a file that holds its encoder side only."""
    lq = restated(FULL)
    needed = ("encoder.", "quantize.", "quant_conv.")
    state = {f"vqvae_LQ.{k}": v for k, v in lq.state_dict().items() if k.startswith(needed)}
    folder = tmp_path_factory.mktemp("full")
    torch.save({"state_dict": state | ASIDE}, folder / "associate_2.ckpt")
    torch.manual_seed(5)
    convs = PromptConvs()
    torch.save(convs.state_dict(), folder / "embedding_change_weights.pth")
    return lq, state, convs, folder


def test_released_size_is_29_172416_million_of_which_3072_are_unused(full) -> None:
    _, state, _, folder = full
    assert sum(v.numel() for v in state.values()) == 29_172_416
    embedder = load_released_embedder(folder / "associate_2.ckpt")
    own = sum(p.numel() for p in embedder.parameters())
    assert own == 29_169_344 == 29_172_416 - 3_072


def test_released_encoder_layer_by_layer(full) -> None:
    lq, _, _, folder = full
    embedder = load_released_embedder(folder / "associate_2.ckpt")
    x = y = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x, y = lq.encoder.conv_in(x), embedder.encoder.conv_in(y)
        torch.testing.assert_close(y, x, atol=1e-5, rtol=1e-5)
        for released, own in zip(lq.encoder.down, embedder.encoder.down_blocks, strict=True):
            x, y = released(x), own(y)
            x = released.downsample(x) if hasattr(released, "downsample") else x
            torch.testing.assert_close(y, x, atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(
            embedder.encoder.mid_block(y), lq.encoder.mid(x), atol=1e-4, rtol=1e-5
        )


def test_released_embedder_gives_tokens_and_prompt_of_the_plain_restatement(full) -> None:
    lq, _, convs, folder = full
    embedder = load_released_embedder(folder / "associate_2.ckpt")
    images = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        # The released inference normalises [-1, 1] once more.
        z = lq.quant_conv(lq.encoder((images - 0.5) / 0.5))
        tokens = z.flatten(2).transpose(1, 2)
        scale = tokens.std()
        torch.testing.assert_close(
            embedder.tokens(images) / scale, tokens / scale, atol=1e-5, rtol=1e-5
        )
        # Selection on identical tokens; end to end as a set, since near-ties may swap.
        entries = embedder(images)
        wanted = select_entries(tokens, lq.quantize.embedding.weight)
        assert entries.shape == (1, 77, 512)
        rows = {tuple(row.tolist()) for row in wanted[0]}
        assert len({tuple(row.tolist()) for row in entries[0]} & rows) >= len(rows) - 1
        whole = load_released_embedder(
            folder / "associate_2.ckpt", folder / "embedding_change_weights.pth"
        )
        prompt = whole(images)
        assert prompt.shape == (1, 77, 1024)
        torch.testing.assert_close(prompt, convs(entries))


def test_prompt_of_a_batch_is_that_of_each_image(full) -> None:
    *_, folder = full
    module = load_released_embedder(
        folder / "associate_2.ckpt", folder / "embedding_change_weights.pth"
    )
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    singles = torch.cat([module(image[None]) for image in images])
    torch.testing.assert_close(module(images), singles, atol=1e-4, rtol=1e-4)
    assert not any(p.requires_grad for p in module.embedder.parameters())


@pytest.mark.parametrize("domain", ["hq", "lq"])
def test_both_halves_reconstruct_like_the_plain_restatement(small, domain) -> None:
    hq, lq, path = small
    autoencoder = load_released_dictionary(path, domain, SMALL)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    with torch.no_grad():
        wanted = {"hq": hq, "lq": lq}[domain](images)
        torch.testing.assert_close(autoencoder(images).image, wanted, atol=1e-5, rtol=1e-4)
        assert not torch.allclose({"hq": lq, "lq": hq}[domain](images), wanted, atol=1e-2)


def test_export_gives_the_released_names_shapes_and_values_back(small, tmp_path) -> None:
    hq, lq, path = small
    halves = {domain: load_released_dictionary(path, domain, SMALL) for domain in ("hq", "lq")}
    save_released_dictionaries(tmp_path / "ours.ckpt", **halves)
    found = torch.load(tmp_path / "ours.ckpt", weights_only=True)["state_dict"]
    wanted = released_state(hq, lq)
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].shape == tensor.shape, name
        if ".attn" in name and ".norm2." in name:  # never used: filled
            assert (found[name] == float(name.endswith("weight"))).all()
        else:
            assert torch.equal(found[name], tensor), name


def test_our_own_dictionaries_survive_the_released_format(tmp_path) -> None:
    torch.manual_seed(0)
    halves = {domain: VQAutoencoder(SMALL) for domain in ("hq", "lq")}
    halves["lq"].quantizer.idle_steps += 7  # bookkeeping stays behind
    save_released_dictionaries(tmp_path / "ours.ckpt", **halves)
    images = torch.rand(1, 3, 32, 32)
    for domain, autoencoder in halves.items():
        back = load_released_dictionary(tmp_path / "ours.ckpt", domain, SMALL)
        assert torch.equal(back(images).image, autoencoder(images).image)


def test_prompt_convs_of_either_rank_and_back(full, tmp_path) -> None:
    _, _, convs, folder = full
    state = torch.load(folder / "embedding_change_weights.pth", weights_only=True)
    flat = {k: v.unsqueeze(-1) if k.endswith("weight") else v for k, v in state.items()}
    torch.save(flat, tmp_path / "two_dimensional.pth")  # 1x1 convolutions over pictures
    for path in (folder / "embedding_change_weights.pth", tmp_path / "two_dimensional.pth"):
        found = load_prompt_convs(path).state_dict()
        assert all(torch.equal(found[key], value) for key, value in convs.state_dict().items())
    save_prompt_convs(tmp_path / "back.pth", convs)
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back.keys() == state.keys()


def test_released_file_as_the_vre_of_a_restorer_keeps_its_input_range(
    full, tmp_path, tiny_generator
):
    *_, folder = full
    embedder = load_vre(folder / "associate_2.ckpt", 5)
    assert embedder.input_range == (-3.0, 1.0) and embedder.count == 5
    # An export folder records it beside the weights.
    tiny_generator.prompt_source.embedder.input_range = (-3.0, 1.0)
    lora = {"rank": 4, "alpha": 4, "targets": ["to_q"]}
    base = {"path": "x", "fingerprint": "y"}
    save_restorer(tmp_path / "export", tiny_generator, lora, base)
    assert load_vre(tmp_path / "export").input_range == (-3.0, 1.0)
    tiny_generator.prompt_source.embedder.input_range = (-1.0, 1.0)
    load_restorer(tmp_path / "export", tiny_generator)
    assert tiny_generator.prompt_source.embedder.input_range == (-3.0, 1.0)


def test_wrong_truncated_or_other_files_are_one_sentence(small, tmp_path) -> None:
    *_, path = small
    with pytest.raises(UserError, match="There is no file"):
        load_released_embedder(tmp_path / "absent.ckpt")
    (tmp_path / "cut.ckpt").write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        load_released_embedder(tmp_path / "cut.ckpt")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="no released stage-1 checkpoint"):
        load_released_embedder(tmp_path / "other.ckpt")
    with pytest.raises(
        UserError, match=r"vqvae_LQ\.quantize\.embedding\.weight has shape \(40, 12\)"
    ):
        load_released_embedder(path)  # small where the released sizes are expected
    state = torch.load(path, weights_only=True)["state_dict"]
    del state["vqvae.decoder.up.1.block.0.conv1.bias"]
    torch.save({"state_dict": state}, tmp_path / "incomplete.ckpt")
    with pytest.raises(UserError, match=r"vqvae\.decoder\.up\.1\.block\.0\.conv1\.bias is missing"):
        load_released_dictionary(tmp_path / "incomplete.ckpt", "hq", SMALL)
    load_released_dictionary(tmp_path / "incomplete.ckpt", "lq", SMALL)  # the other half is whole


def test_code_in_a_pickle_is_never_run(tmp_path) -> None:
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    torch.save({"state_dict": {"vqvae_LQ.x": Harm()}}, tmp_path / "harm.ckpt")
    with pytest.raises(UserError, match="no checkpoint that can be read"):
        load_released_embedder(tmp_path / "harm.ckpt")
    assert not (tmp_path / "harm").exists()
