import torch

from osdface.networks.autoencoder import VQConfig
from osdface.networks.embedder import (
    PromptConvs,
    VisualPrompt,
    VisualRepresentationEmbedder,
    select_entries,
)

TINY = VQConfig((8, 16), 1, 32, 16, 8)


def naive_selection(tokens: torch.Tensor, codebook: torch.Tensor, count: int) -> torch.Tensor:
    """One image at a time, token by token, as the paper's text says."""
    prompts = []
    for image in tokens:
        best: dict[int, float] = {}
        for token in image:
            distances = [float(((token - entry) ** 2).sum()) for entry in codebook]
            entry = min(range(len(codebook)), key=distances.__getitem__)
            best[entry] = min(best.get(entry, float("inf")), distances[entry])
        order = sorted(best, key=best.__getitem__)[:count]
        rows = [codebook[entry] for entry in order]
        rows += [torch.zeros_like(codebook[0])] * (count - len(rows))
        prompts.append(torch.stack(rows))
    return torch.stack(prompts)


def test_selection_equals_the_loop_when_entries_are_plenty_and_when_they_are_few() -> None:
    generator = torch.Generator().manual_seed(0)
    codebook = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    tokens = torch.randn(3, 50, 6, generator=generator, dtype=torch.float64)
    tokens[1] = codebook[3] + 0.01 * tokens[1]  # one distinct entry only
    for count in (5, 77):
        found = select_entries(tokens, codebook, count)
        assert found.shape == (3, count, 6)
        torch.testing.assert_close(found, naive_selection(tokens, codebook, count))
    assert (select_entries(tokens, codebook, 77)[1, 1:] == 0).all()


def test_selection_does_not_depend_on_the_batch() -> None:
    codebook, tokens = torch.randn(64, 8), torch.randn(4, 30, 8)
    together = select_entries(tokens, codebook, 20)
    for number in range(4):
        alone = select_entries(tokens[number : number + 1], codebook, 20)[0]
        torch.testing.assert_close(together[number], alone)


def test_a_zero_row_becomes_a_constant_not_zero() -> None:
    convs = PromptConvs(16, 8, 12)
    entries = torch.randn(2, 5, 16)
    entries[0, 3:] = 0
    prompt = convs(entries)
    torch.testing.assert_close(prompt[0, 3], prompt[0, 4])
    assert prompt[0, 3].abs().max() > 0


def test_prompt_convs_are_the_two_formulas() -> None:
    convs = PromptConvs(6, 4, 5).double()
    entries = torch.randn(2, 3, 6, dtype=torch.float64)
    hidden = entries @ convs.conv1.weight[..., 0].T + convs.conv1.bias
    hidden = hidden * torch.sigmoid(hidden)
    expected = hidden @ convs.conv2.weight[..., 0].T + convs.conv2.bias
    torch.testing.assert_close(convs(entries), expected * torch.sigmoid(expected))


def test_only_the_convolutions_learn() -> None:
    prompt = VisualPrompt(VisualRepresentationEmbedder(TINY, 7), PromptConvs(16, 8, 12))
    out = prompt(torch.rand(2, 3, 16, 16) * 2 - 1)
    assert out.shape == (2, 7, 12)
    out.sum().backward()
    learning = {name for name, p in prompt.named_parameters() if p.grad is not None}
    assert learning == {f"convs.conv{n}.{part}" for n in (1, 2) for part in ("weight", "bias")}
