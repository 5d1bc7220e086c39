"""The figures by which the shipped stand-ins were judged, against plain loops."""

import lightning as L
import pytest
import torch

from lightning_modules.stand_ins import PerceptualPretrainingModule, damage, pair_accuracy
from lightning_modules.stepped import StepSettings
from osdface.networks.tiny_perceptual import TinyPerceptualHeads, TinyPerceptualNetwork


def test_pair_accuracy_is_that_of_a_loop_over_pairs() -> None:
    torch.manual_seed(0)
    people = torch.randn(4, 8).repeat_interleave(3, 0)
    embeddings = torch.nn.functional.normalize(people + 0.9 * torch.randn(12, 8), dim=1)
    identities = torch.arange(4).repeat_interleave(3)
    same, different = [], []
    for i in range(12):
        for j in range(i + 1, 12):
            value = sum(
                float(a) * float(b) for a, b in zip(embeddings[i], embeddings[j], strict=True)
            )
            (same if i // 3 == j // 3 else different).append(value)
    best = max(
        (sum(v > t for v in same) / len(same) + sum(v <= t for v in different) / len(different)) / 2
        for t in (n / 200 - 1 for n in range(401))
    )
    found = pair_accuracy(embeddings, identities)
    assert 0.6 < best < 1
    assert found["accuracy"] == pytest.approx(best)
    assert found["same"] == pytest.approx(sum(same) / len(same), abs=1e-6)
    assert found["different"] == pytest.approx(sum(different) / len(different), abs=1e-6)


def test_damage_does_nothing_at_zero_and_what_it_says_else() -> None:
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(damage(image, torch.zeros(3), torch.Generator()), image)
    noisy = damage(image, torch.tensor([0.0, 1.0, 0.0]), torch.Generator().manual_seed(1))
    assert float((noisy - image).std()) == pytest.approx(0.15, rel=0.05)
    blocks = damage(image, torch.tensor([0.0, 0.0, 1.0]), torch.Generator())
    means = image.view(3, 8, 4, 8, 4).mean((2, 4)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    torch.testing.assert_close(blocks, means)
    blurred = damage(image, torch.tensor([1.0, 0.0, 0.0]), torch.Generator())
    weights = torch.tensor([[-(x * x + y * y) / 18 for x in range(-9, 10)] for y in range(-9, 10)])
    weights = weights.exp() / weights.exp().sum()
    assert float(blurred[0, 15, 15]) == pytest.approx(
        float((image[0, 6:25, 6:25] * weights).sum()), abs=1e-5
    )


def test_the_rmse_of_severities_is_that_of_all_pictures(monkeypatch) -> None:
    """Batches of a validation differ in size, and their errors in height."""
    errors = {4: 0.01, 1: 0.25}
    module = PerceptualPretrainingModule(
        TinyPerceptualNetwork((4, 4)), TinyPerceptualHeads((4, 4), {}), [], StepSettings(1, 1e-3)
    )
    monkeypatch.setattr(
        module,
        "_terms",
        lambda batch, seed: (
            torch.tensor(0.0),
            torch.tensor(errors[len(batch["hq"])]),
            torch.tensor(0.5),
        ),
    )
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    batches = [{"hq": torch.zeros(size, 3, 8, 8)} for size in errors]
    trainer.validate(module, torch.utils.data.DataLoader(batches, batch_size=None), verbose=False)
    mean = (4 * 0.01 + 0.25) / 5
    assert module.validation_metrics["severity_rmse"] == pytest.approx(mean**0.5)
