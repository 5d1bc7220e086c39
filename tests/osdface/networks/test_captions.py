"""Prompts by sample key: words through a real (tiny) CLIP text encoder, or embeddings of a file."""

import copy

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel

from osdface.errors import UserError
from osdface.networks.captions import (
    CaptionPrompt,
    EmbeddedCaptions,
    WrittenCaptions,
    embed_captions,
    read_captions,
)
from osdface.networks.text import has_text_encoder, load_text_encoder
from tests.text_encoder import write_text_encoder

IMAGES = torch.zeros(3, 3, 16, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base's text encoder and tokenizer in diffusers' layout."""
    return write_text_encoder(tmp_path_factory.mktemp("base"), width=12)


def test_words_become_last_hidden_states(folder) -> None:
    assert has_text_encoder(folder)
    encoder = load_text_encoder(folder)
    found = encoder.embed(["a b", ""])
    assert found.shape == (2, 8, 12) and not found.requires_grad
    model = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    tokens = encoder.tokenizer(["a b"], padding="max_length", max_length=8).input_ids
    with torch.no_grad():
        wanted = model(torch.tensor(tokens)).last_hidden_state
    torch.testing.assert_close(found[:1], wanted)
    assert not torch.allclose(found[0], found[1])
    assert encoder.embed(["a b c d e f g h i j"]).shape == (1, 8, 12)  # cut off


def test_each_sample_has_its_own_and_a_missing_one_the_default(folder, tmp_path) -> None:
    encoder = load_text_encoder(folder)
    default = encoder.embed([""])[0]
    (tmp_path / "captions.jsonl").write_text(
        '{"key": "one", "text": "a face"}\n\n{"key": "two", "text": "b"}\n', encoding="utf-8"
    )
    texts = read_captions(tmp_path / "captions.jsonl")
    assert texts == {"one": "a face", "two": "b"}
    written = CaptionPrompt(default, WrittenCaptions(texts, encoder))
    with pytest.warns(UserWarning, match="none for 'lost'"):
        found = written(IMAGES, ["two", "lost", "one"])
    torch.testing.assert_close(found[0], encoder.embed(["b"])[0])
    torch.testing.assert_close(found[2], encoder.embed(["a face"])[0])
    assert torch.equal(found[1], default)
    assert written.figures() == {"prompt/without_caption": 1.0} and written.asked == 3
    # Without keys, as in restoring, the default prompt is all there is.
    assert torch.equal(written(IMAGES), default.expand(3, -1, -1))
    assert set(written.state_dict()) == {"prompt"} and not list(written.parameters())

    embed_captions(texts, encoder, tmp_path / "captions.safetensors")
    embedded = CaptionPrompt(default, EmbeddedCaptions(tmp_path / "captions.safetensors"))
    embedded = copy.deepcopy(embedded)
    with pytest.warns(UserWarning, match="none for 'lost'"):
        torch.testing.assert_close(embedded(IMAGES, ["two", "lost", "one"]), found)
    lost = CaptionPrompt(default[:3], EmbeddedCaptions(tmp_path / "captions.safetensors"))
    with pytest.raises(UserError, match=r"the prompt of 'one' has shape \(8, 12\)"):
        lost(IMAGES[:1], ["one"])


def test_another_shape_than_the_default_s_is_told_before_training(folder, tmp_path) -> None:
    """Else a batch in which one image has no caption ends the run, hours later perhaps."""
    encoder = load_text_encoder(folder)
    default = encoder.embed([""])[0]
    written = WrittenCaptions({"a": "b"}, encoder)
    save_file({"a": default, "z": default[:3].clone()}, tmp_path / "captions.safetensors")
    embedded = EmbeddedCaptions(tmp_path / "captions.safetensors")
    written.check(default)
    with pytest.raises(UserError, match=r"shape \(8, 12\).*has \(3, 12\)"):
        written.check(default[:3])
    with pytest.raises(UserError, match=r"the prompt of 'z' has shape \(3, 12\)"):
        embedded.check(default)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"key": "a", "text": "b"}\n{"key": "a"}', "line 2"),
        ("nothing", "line 1"),
        ('{"key": 3, "text": "b"}', "line 1"),
        ("[1]", "line 1"),
        ("", "holds no caption"),
    ],
)
def test_a_wrong_file_is_a_sentence(content, said, tmp_path) -> None:
    (tmp_path / "c.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        read_captions(tmp_path / "c.jsonl")


def test_files_that_are_not_there_are_a_sentence(tmp_path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_captions(tmp_path / "no.jsonl")
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_captions(tmp_path / "bytes.jsonl")
    for content in (None, b"no tensors"):
        if content:
            (tmp_path / "c.safetensors").write_bytes(content)
        with pytest.raises(UserError, match="no safetensors file"):
            EmbeddedCaptions(tmp_path / "c.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "one.safetensors")
    with pytest.raises(UserError, match="no text_encoder"):
        load_text_encoder(tmp_path)
    for name in ("text_encoder", "tokenizer"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        load_text_encoder(tmp_path)
