"""Every prompt source against a loop over images and tokens, in float64."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from osdface.errors import UserError
from osdface.networks.caption import CaptionEmbedding, null_caption
from osdface.networks.embedder import PromptConvs, VisualRepresentationEmbedder
from osdface.networks.prompts import (
    KINDS,
    TEXT_KINDS,
    VISUAL_KINDS,
    build_prompt_source,
    own_state,
    prompt_facts,
)
from osdface.networks.visual_prompts import DuplicatesPrompt
from tests.osdface.conftest import VQ
from tests.osdface.networks.test_selection import distinct, padded, ranked_tokens

COUNT, PROMPT_DIM = 7, 12


def build(kind: str, prompt_dim: int = PROMPT_DIM, count: int = COUNT) -> Any:
    torch.manual_seed(1)
    embedder = None
    if kind in VISUAL_KINDS:
        embedder = VisualRepresentationEmbedder(VQ, count)
        nn.init.normal_(embedder.codebook)
    text = torch.randn(5, prompt_dim) if kind in TEXT_KINDS else None
    return build_prompt_source(kind, prompt_dim, embedder, 8, 4, text, count)


def images(batch: int = 3, height: int = 16, width: int = 16) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64) * 2 - 1
    noise[1:2] = 0.3 + 0.05 * noise[1:2]  # a nearly flat picture has few distinct entries
    return noise


def convs(module: PromptConvs, entries: Tensor) -> Tensor:
    for conv in (module.conv1, module.conv2):
        entries = entries @ conv.weight[..., 0].T + conv.bias
        entries = entries * torch.sigmoid(entries)
    return entries


def attended(source: Any, entries: Tensor) -> Tensor:
    """Multi-head attention, query by query and head by head."""
    weights = source.attention.in_proj_weight.chunk(3)
    biases = source.attention.in_proj_bias.chunk(3)
    query, key, value = (
        given @ weight.T + bias
        for given, weight, bias in zip(
            (source.queries, entries, entries), weights, biases, strict=True
        )
    )
    heads, dim = source.attention.num_heads, query.shape[1]
    rows = []
    for row in query:
        parts = []
        for head in range(heads):
            own = slice(head * dim // heads, (head + 1) * dim // heads)
            scores = [row[own] @ each[own] / math.sqrt(dim / heads) for each in key]
            shares = torch.stack(scores).softmax(0)
            parts.append(sum(s * each[own] for s, each in zip(shares, value, strict=True)))
        rows.append(source.attention.out_proj(torch.cat(parts)))
    return torch.stack(rows)


def naive(source: Any, image: Tensor) -> Tensor:
    """The prompt of one picture (3, H, W)."""
    if source.kind not in VISUAL_KINDS:
        return source.prompt
    grid = source.embedder.quant_conv(source.embedder.encoder(image[None]))[0]
    tokens, codebook = grid.flatten(1).T, source.embedder.codebook
    ranked = ranked_tokens(tokens, codebook)
    count, zero = source.embedder.count, codebook[0]
    if source.kind == "duplicates":
        rows = padded([codebook[entry] for _, _, entry in ranked], 2 * count, zero)
        both = torch.stack([torch.cat([rows[i], rows[count + i]]) for i in range(count)])
        return source.convs(both)
    if source.kind == "attention_pooling":
        nearest = {token: entry for _, token, entry in ranked}
        entries = torch.stack([codebook[nearest[token]] for token in range(len(tokens))])
        return convs(source.convs, attended(source, entries))
    rows = []
    for entry, token in distinct(ranked)[:count]:
        row = codebook[entry].clone()
        if source.kind == "position_code":
            quarter = len(row) // 4
            for half, place in enumerate(divmod(token, grid.shape[2])):
                for i in range(quarter):
                    angle = place / 10000 ** (i / quarter)
                    row[2 * half * quarter + i] += math.sin(angle)
                    row[(2 * half + 1) * quarter + i] += math.cos(angle)
        rows.append(row)
    return convs(source.convs, padded(rows, count, zero))


# A grid of 8 x 12 tokens, so that rows and columns cannot be exchanged; of 2 x 2, so that entries
# and tokens are fewer than rows.
@pytest.mark.parametrize("size", [(16, 24), (4, 4)])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_equals_the_loop_over_images(kind, size) -> None:
    source = build(kind).double().eval()
    batch = images(3, *size)
    prompt = source(batch)
    assert prompt.dtype == torch.float64
    torch.testing.assert_close(prompt, torch.stack([naive(source, image) for image in batch]))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_exactly_what_is_trained(kind) -> None:
    source = build(kind).train()
    assert not hasattr(source, "embedder") or not source.embedder.training
    prompt = source(images().float())
    trained = {name for name, p in source.named_parameters() if p.requires_grad}
    assert trained == {name for name in own_state(source) if name != "prompt" or trained}
    assert bool(trained) == (kind not in (*TEXT_KINDS, "none")) == prompt.requires_grad
    if trained:
        prompt.square().sum().backward()
    touched = {name for name, p in source.named_parameters() if p.grad is not None}
    assert touched == trained


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_can_be_exported_for_any_batch(kind) -> None:
    """What traces with a symbolic batch has no host synchronisation that depends on data."""
    source = build(kind).eval()
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    example = (images(3).float(),)
    program = torch.export.export(source, example, dynamic_shapes=(batch,), strict=False)
    for size in (1, 5):
        given = images(size).float()
        torch.testing.assert_close(program.module()(given), source(given))


def test_duplicates_train_nothing_where_widths_agree() -> None:
    source = build("duplicates", prompt_dim=2 * VQ.embedding_dim)
    assert not own_state(source)
    prompt = source(images().float())
    assert prompt.shape == (3, COUNT, 2 * VQ.embedding_dim) and not prompt.requires_grad
    paper = DuplicatesPrompt(VisualRepresentationEmbedder(VQ), 1024)
    assert own_state(paper).keys() == {"convs.weight", "convs.bias"}


def test_none_is_one_row_of_zeros() -> None:
    assert torch.equal(build("none")(images(2).float()), torch.zeros(2, 1, PROMPT_DIM))


@pytest.mark.parametrize("kind", KINDS)
def test_facts_build_the_same_source_again(kind) -> None:
    source = build(kind)
    facts = prompt_facts(source, PROMPT_DIM)
    count = facts.pop("count")
    assert count == {"text_prompt": 5, "captions": 5, "none": 1}.get(kind, COUNT)
    embedder = getattr(source, "embedder", None)
    text = torch.zeros(count, PROMPT_DIM) if kind in TEXT_KINDS else None
    again = build_prompt_source(**facts, embedder=embedder, text=text, count=count)
    again.load_state_dict(source.state_dict())
    given = images(2).float()
    torch.testing.assert_close(again(given), source(given))


@pytest.mark.parametrize("kind", KINDS)
def test_generator_and_discriminator_take_it(kind, tiny_pair) -> None:
    generator, discriminator = tiny_pair
    generator.prompt_source = build(kind)
    restored = generator(images(2).float())
    assert restored.image.shape == (2, 3, 16, 16)
    twice = restored.prompt.detach().repeat(2, 1, 1)
    logits = discriminator(torch.randn(4, 4, 8, 8), torch.tensor([1, 2, 1, 2]), twice)
    assert torch.isfinite(logits).all()
    (restored.image.square().mean() + logits.square().mean()).backward()
    assert all(p.grad is not None for p in generator.prompt_source.parameters() if p.requires_grad)


def test_wrong_sizes_are_a_sentence() -> None:
    embedder = VisualRepresentationEmbedder(VQ, COUNT)
    with pytest.raises(UserError, match="heads"):
        build_prompt_source("attention_pooling", PROMPT_DIM, embedder, heads=5)


def test_null_caption_is_what_the_embedding_gives_for_unknown_attributes() -> None:
    caption = CaptionEmbedding([3, 2], 6)
    expected = caption(torch.full((1, 2), -1))[0]
    torch.testing.assert_close(null_caption(caption.state_dict()), expected)
