"""Ways to run stage 2's two optimizers on several processes, for benchmarks.ddp.

Each takes a module of benchmarks.train_step and returns its step; all do the same training.
"""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.overrides.distributed import prepare_for_backward
from torch import distributed, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel as DDP

from benchmarks.train_step import drive
from lightning_modules.critics import Draws, LatentAdversary
from lightning_modules.data_parallel import AveragedDDPStrategy
from lightning_modules.distillation import OneStepDistillationModule

Step = Callable[[dict[str, Any]], None]
# What a wrapper sends of gradients goes through this, so that bytes can be counted.
Hook = Callable[[Any, Any], Any] | None


def _wrapped(module: nn.Module, hook: Hook, **options: Any) -> DDP:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer torch renames broadcast_buffers
        wrapper = DDP(module, **options)
    if hook is not None:
        wrapper.register_comm_hook(None, hook)
    return wrapper


def alone(module: OneStepDistillationModule, hook: Hook = None) -> Step:
    """Nothing is exchanged but the guards' and the logs' few numbers: the floor."""
    drive(module)
    return lambda batch: module.training_step(batch, 0)


def averaged(module: OneStepDistillationModule, hook: Hook = None) -> Step:
    """Ours: gradients flattened and averaged after each backward pass."""
    drive(module)
    module.trainer.strategy = AveragedDDPStrategy()
    return lambda batch: module.training_step(batch, 0)


def searched(module: OneStepDistillationModule, hook: Hook = None) -> Step:
    """One wrapper that searches the graph for unused parameters, as Lightning runs it."""
    drive(module)
    wrapper = _wrapped(module, hook, find_unused_parameters=True)

    def forward(batch: dict[str, Any]) -> None:
        module.training_step(batch, 0)
        # As Lightning: the wrapper prepares in manual_backward, not at the end of the forward pass.
        wrapper.require_backward_grad_sync = False

    def backward(loss: torch.Tensor) -> None:
        prepare_for_backward(wrapper, loss)
        loss.backward()

    def step(batch: dict[str, Any]) -> None:
        wrapper(batch)
        wrapper.require_backward_grad_sync = True

    module.forward = forward  # type: ignore[method-assign]
    module.manual_backward = backward  # type: ignore[method-assign]
    return step


def _per_network(module: OneStepDistillationModule, hook: Hook, static: bool) -> Step:
    drive(module)
    wrappers = [
        _wrapped(part, hook, broadcast_buffers=False, static_graph=static)
        for part in (module.generator, module.discriminator)
    ]
    turns = itertools.cycle(wrappers)
    begun: set[int] = set()

    def backward(loss: torch.Tensor) -> None:
        wrapper = next(turns)  # the generator's update comes first, then the discriminator's
        prepare_for_backward(wrapper, loss)
        loss.backward()
        if static and id(wrapper) not in begun:  # the first pass is only looked at
            begun.add(id(wrapper))
            wrapper.reducer._delay_all_reduce()

    module.manual_backward = backward  # type: ignore[method-assign]
    return lambda batch: module.training_step(batch, 0)


def per_network(module: OneStepDistillationModule, hook: Hook = None) -> Step:
    """A plain wrapper around each network."""
    return _per_network(module, hook, static=False)


def per_network_static(module: OneStepDistillationModule, hook: Hook = None) -> Step:
    """The same, the graph declared to be always the same."""
    return _per_network(module, hook, static=True)


class _BothLosses(nn.Module):
    """Generator's and discriminator's loss of one batch; each parameter is in one of them."""

    def __init__(self, module: OneStepDistillationModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        own, (adversary,) = self.module, self.module.critics
        assert isinstance(adversary, LatentAdversary)
        discriminator = adversary.network
        degraded, target = own._encode(batch)
        restored = own.generator(batch["lq"], degraded)
        terms = own.losses(restored.image, batch["hq"])
        draws = Draws(own.seed, own.generator_step, batch["key"])
        noised = adversary.look(restored, target, own.generator.alphas_cumprod, draws)
        constant = {name: p.detach() for name, p in discriminator.named_parameters()}
        seen = (noised.fake, noised.timestep, noised.prompt)
        logits = functional_call(discriminator, constant, seen)
        terms["gan"] = adversary.adversarial.generator(logits)
        weights = own.losses.weights | {"gan": adversary.weight}
        total = own._log_terms(terms, weights, restored.latent)
        loss, figures = adversary.own_loss(noised)
        own.figures.add({"loss/discriminator": loss} | figures)
        return total, loss


def one_backward(module: OneStepDistillationModule, hook: Hook = None) -> Step:
    """One plain wrapper, one forward and one backward pass of both losses."""
    drive(module)
    losses = _BothLosses(module)
    wrapper = _wrapped(losses, hook, broadcast_buffers=False)
    module.manual_backward = lambda loss: None  # type: ignore[method-assign]

    def step(batch: dict[str, Any]) -> None:
        total, loss = wrapper(batch)
        (total + loss).backward()
        for optimizer, own, name in zip(
            module.trainer.optimizers, (total, loss), ("generator", "discriminator"), strict=True
        ):
            module.update(optimizer, own, name, batch["key"])
        module.finish_micro_batch()

    return step


WAYS: dict[str, Callable[..., Step]] = {
    "nothing exchanged": alone,
    "one wrapper, unused parameters searched": searched,
    "a wrapper a network": per_network,
    "a wrapper a network, static graph": per_network_static,
    "one wrapper, one backward pass": one_backward,
    "averaged after the backward pass (ours)": averaged,
}
REFERENCE = "one wrapper, unused parameters searched"
OURS = "averaged after the backward pass (ours)"


def counted(
    way: Callable[..., Step], module: OneStepDistillationModule, batch: dict[str, Any]
) -> tuple[int, dict[str, float]]:
    """Does one step; returns the bytes that a rank gave to collectives, and the gradients' norms.

    Of find_unused_parameters it counts the map of used parameters too, four bytes each, and of a
    wrapper that broadcasts buffers these.
    """
    sent = [0]
    real = distributed.all_reduce

    def all_reduce(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        sent[0] += tensor.nbytes
        return real(tensor, *args, **kwargs)

    step = way(module, allreduce_hook)  # which calls all_reduce, where the wrapper's own does not
    distributed.all_reduce = all_reduce
    try:
        step(batch)
    finally:
        distributed.all_reduce = real
    if way is searched:
        trained = [p for p in module.parameters() if p.requires_grad]
        sent[0] += 2 * 4 * len(trained)  # at both backward passes
        sent[0] += sum(buffer.nbytes for buffer in module.buffers())
    norms = {k: v for k, v in module.logged.items() if k.startswith("gradient_norm/")}
    return sent[0], norms
