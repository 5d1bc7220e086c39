"""Steps and validations on 2 and 4 processes give the numbers of one process with all samples."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from datamodules.samplers import ValidationSampler
from lightning_modules.association import DictionaryAssociationModule
from lightning_modules.data_parallel import AveragedDDPStrategy
from lightning_modules.dictionary import VQDictionaryModule
from lightning_modules.stepped import SteppedModule, StepSettings
from osdface.losses import WeightedLosses, build_loss
from osdface.metrics import RestorationMetrics
from osdface.networks.identity import IdentityEncoder
from osdface.networks.tiny_identity import TinyIdentityNetwork
from osdface.networks.tiny_perceptual import TinyPerceptualNetwork
from tests.lightning_modules.small import build_module, drive, make_batch
from tests.lightning_modules.test_dictionary import build
from tests.processes import process_group, run_ranks

SAMPLES, HELD_OUT = 8, 7
# Top-1 is sought among the tokens of a rank's batch, so it alone depends on how they are dealt.
DEALT = ("association/top1_hq_to_lq", "association/top1_lq_to_hq")


def stage2(accumulate: int = 1) -> SteppedModule:
    torch.manual_seed(0)
    identity = IdentityEncoder(TinyIdentityNetwork((4, 8, 8), 16), "small", True)
    trunk = TinyPerceptualNetwork((8, 8))
    module = build_module(gan=0.1, steps=1, accumulate=accumulate)
    module.losses = WeightedLosses({"mse": 1, "identity": 0.3, "ea_dists": 0.5}, trunk, identity)
    module.metrics = RestorationMetrics(build_loss("dists", trunk), identity)
    module.log_gradients_every = 1
    for name, parameter in module.named_parameters():
        if "lora_B" in name:  # zeros at first, which would leave lora_A without a gradient
            torch.nn.init.normal_(parameter, std=0.05)
    return module


def dictionary() -> SteppedModule:
    torch.manual_seed(0)
    return VQDictionaryModule(build(start=0), StepSettings(1, 1e-2), "lq")


def association() -> SteppedModule:
    torch.manual_seed(0)
    return DictionaryAssociationModule(build(start=0), build(start=0), StepSettings(1, 1e-2))


# Name -> module, number type, micro-batches of a rank where there are two ranks.
STEPS: dict[str, tuple[Callable[[], SteppedModule], torch.dtype, int]] = {
    "stage2": (stage2, torch.float64, 1),
    "stage2_float32": (stage2, torch.float32, 1),
    "stage2_accumulated": (lambda: stage2(2), torch.float64, 2),
    "dictionary": (dictionary, torch.float64, 1),
    "association": (association, torch.float64, 1),
}
VALIDATIONS = {"stage2": stage2, "dictionary": dictionary, "association": association}


def part(batch: dict[str, Any], samples: slice, dtype: torch.dtype) -> dict[str, Any]:
    own = {name: batch[name][samples].to(dtype) for name in ("lq", "hq")}
    return own | {"key": batch["key"][samples]}


def prepare(module: Any, dtype: torch.dtype, rank: int, world: int) -> Any:
    drive(module.to(dtype))
    module.trainer.strategy = AveragedDDPStrategy()
    module.trainer.world_size, module.trainer.is_global_zero = world, rank == 0
    return module


def one_step(
    module: Any, dtype: torch.dtype, micro_batches: int, rank: int, world: int
) -> dict[str, Any]:
    """Returns the logged figures and every gradient that an optimizer got."""
    prepare(module, dtype, rank, world)
    names = {parameter: name for name, parameter in module.named_parameters()}
    gradients: dict[str, torch.Tensor] = {}

    def keep(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            gradients.update({names[p]: p.grad.clone() for p in group["params"]})

    for optimizer in module.trainer.optimizers:
        optimizer.register_step_pre_hook(keep)
    size = SAMPLES // world // micro_batches
    for number in range(micro_batches):
        first = (number * world + rank) * size
        own = part(make_batch(0, SAMPLES), slice(first, first + size), dtype)
        module.training_step(own, number)
    return {"logged": module.logged, "gradients": gradients}


def validation(module: Any, rank: int, world: int) -> dict[str, float]:
    prepare(module, torch.float32, rank, world).eval()  # the metrics know no other type
    everything = make_batch(1, HELD_OUT)
    with torch.no_grad():
        module.on_validation_epoch_start()
        for number, draws in enumerate(ValidationSampler(HELD_OUT, 2, rank, world)):
            samples = [draw.sample for draw in draws]  # a rank's are not beside each other
            chosen = {name: everything[name][samples] for name in ("lq", "hq")}
            chosen["key"] = [everything["key"][sample] for sample in samples]
            module.validation_step(chosen, number)
        module.on_validation_epoch_end()
    return {k: v for k, v in module.validation_metrics.items() if k not in DEALT}


def measure(rank: int = 0, world: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, (module, dtype, micro_batches) in STEPS.items():
        if micro_batches == 1 or world == 2:
            found[name] = one_step(module(), dtype, micro_batches, rank, world)
    for name, module in VALIDATIONS.items():
        found[f"validation/{name}"] = validation(module(), rank, world)
    return found


def work(rank: int, folder: Path) -> None:
    for world in (4, 2):
        if rank < world:
            with process_group(folder / f"store{world}", rank, world):
                torch.save(measure(rank, world), folder / f"{world}-{rank}.pt")


@pytest.fixture(scope="module")
def alone() -> dict[str, Any]:
    found = measure()
    return found | {"stage2_accumulated": found["stage2"]}


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> dict[int, list[dict[str, Any]]]:
    """World size -> what each rank measured."""
    folder = tmp_path_factory.mktemp("ranks")
    run_ranks(work, 4, folder)
    return {
        world: [torch.load(folder / f"{world}-{rank}.pt") for rank in range(world)]
        for world in (2, 4)
    }


CASES = [(name, world) for name, case in STEPS.items() for world in (2, 4) if case[2] == 1]


def whole_norm(gradients: dict[str, torch.Tensor], network: str) -> float:
    own = [g.norm() for name, g in gradients.items() if name.startswith(network)]
    return float(torch.stack(own).norm())


@pytest.mark.parametrize(("name", "world"), [*CASES, ("stage2_accumulated", 2)])
def test_losses_and_gradients_of_a_step(alone, together, name: str, world: int) -> None:
    wanted, limit = alone[name], 1e-4 if name.endswith("float32") else 1e-6
    for found in (rank[name] for rank in together[world]):
        assert found["logged"] == pytest.approx(wanted["logged"], rel=limit, abs=limit / 100)
        assert found["gradients"].keys() == wanted["gradients"].keys()
        apart = {n: g - found["gradients"][n] for n, g in wanted["gradients"].items()}
        for network in {parameter.split(".")[0] for parameter in apart}:
            norm = whole_norm(wanted["gradients"], network)
            assert whole_norm(apart, network) <= limit * norm, network
            for parameter, difference in apart.items() if limit == 1e-6 else ():
                # A bias in front of a norm has a gradient of rounding errors alone.
                own = max(float(wanted["gradients"][parameter].norm()), 1e-3 * norm)
                assert difference.norm() <= limit * own, parameter


def test_the_steps_have_what_is_to_be_compared(alone) -> None:
    logged, gradients = alone["stage2"]["logged"], alone["stage2"]["gradients"]
    for term in ("mse", "identity", "ea_dists", "gan"):
        assert abs(logged[f"loss/{term}/raw"]) > 1e-6 and logged[f"loss/{term}/latent_gradient"] > 0
    assert logged["gradient_norm/generator"] > 0 and logged["gradient_norm/discriminator"] > 0
    for network in ("generator", "discriminator"):
        assert any(name.startswith(f"{network}.") and "lora" in name for name in gradients)
    assert any("temperature" in name for name in alone["association"]["gradients"])
    assert "loss/hq/gan" in alone["association"]["logged"]
    for name, step in alone.items():
        for parameter, gradient in step.get("gradients", {}).items():
            assert gradient.abs().sum() > 0 or gradient.numel() == 1, (name, parameter)


@pytest.mark.parametrize("name", VALIDATIONS)
@pytest.mark.parametrize("world", [2, 4])
def test_figures_of_a_validation_with_an_uneven_last_batch(alone, together, name, world) -> None:
    wanted = alone[f"validation/{name}"]
    assert wanted
    for found in together[world]:
        assert found[f"validation/{name}"] == pytest.approx(wanted, rel=1e-5, abs=1e-9)
