import pytest
import torch
from lightning.pytorch import Callback

from callbacks import EMA, StepCheckpoint


class Weights(Callback):
    """Records the raw weights after every generator step, the initial ones first."""

    def __init__(self):
        self.history = []

    def on_train_start(self, trainer, pl_module):
        self.history.append(pl_module.generator.weight.detach().clone())

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.history.append(pl_module.generator.weight.detach().clone())


def naive(history, decay, every):
    """The definition, one number at a time, in float64."""
    average = [float(value) for value in history[0].flatten()]
    for step, weights in enumerate(history[1:], start=1):
        if step % every == 0:
            d = 1.0
            for _ in range(every):
                d *= decay
            for i, value in enumerate(weights.flatten()):
                average[i] = d * average[i] + (1 - d) * float(value)
    return torch.tensor(average, dtype=torch.float64)


@pytest.mark.parametrize("every", [1, 3])
def test_average_equals_a_naive_loop(toy, every):
    module, fit = toy
    ema, weights = EMA(decay=0.7, every=every), Weights()
    model = module(max_steps=10)
    fit(model, ema, weights)
    average = ema.shadow["generator.weight"]
    assert average.dtype == torch.float32
    expected = naive(weights.history, 0.7, every)
    torch.testing.assert_close(average.flatten().double(), expected, rtol=1e-6, atol=1e-7)
    assert set(ema.shadow) == {"generator.weight", "generator.bias"}
    # validated with the average, went on with the raw weights
    assert torch.equal(model.seen_weight, average)
    assert torch.equal(model.generator.weight, weights.history[-1])


def test_resume_gives_the_uninterrupted_average(toy, tmp_path):
    module, fit = toy
    torch.manual_seed(1)
    whole = EMA(decay=0.9)
    fit(module(max_steps=8), whole)
    torch.manual_seed(1)
    fit(module(max_steps=4), EMA(decay=0.9), StepCheckpoint(tmp_path))
    resumed = EMA(decay=0.9)
    fit(module(max_steps=8), resumed, ckpt_path=tmp_path / "checkpoints/last.ckpt")
    for name, average in whole.shadow.items():
        torch.testing.assert_close(resumed.shadow[name], average, rtol=0, atol=0)


def test_weights_come_back_after_a_failed_validation(toy):
    module, fit = toy
    ema, weights = EMA(decay=0.9), Weights()
    model = module(fail_when="validation")
    with pytest.raises(RuntimeError, match="validation broke"):
        fit(model, ema, weights)
    assert torch.equal(model.generator.weight, weights.history[-1])
    with ema.weights(model):
        assert torch.equal(model.generator.weight, ema.shadow["generator.weight"])
    assert torch.equal(model.generator.weight, weights.history[-1])


def test_a_checkpoint_saved_while_swapped_holds_the_raw_weights(toy):
    module, fit = toy
    ema = EMA(decay=0.9)
    model = module(max_steps=3)
    fit(model, ema)
    raw = model.generator.weight.detach().clone()
    with ema.weights(model):
        checkpoint = {"state_dict": model.state_dict()}
        ema.on_save_checkpoint(None, model, checkpoint)
        assert torch.equal(checkpoint["state_dict"]["generator.weight"], raw)


def test_wrong_settings():
    with pytest.raises(ValueError, match="decay"):
        EMA(decay=1.0)
    with pytest.raises(ValueError, match="every"):
        EMA(every=0)
