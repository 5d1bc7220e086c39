"""The critics of stage 2, by the terms that the variant switches on."""

from omegaconf import DictConfig

from experiments.pipelines.build import plain
from experiments.pipelines.fitting import seed_everything
from experiments.pipelines.texts import negative_prompt
from lightning_modules.critics import Critic, LatentAdversary, ScoreDistillation
from osdface.networks.base import DiffusionBase
from osdface.networks.discriminators import build_latent_discriminator
from osdface.networks.lora import DEFAULT_TARGETS
from osdface.networks.regulariser import ScoreRegulariser


def _adversary(cfg: DictConfig, base: DiffusionBase, weight: float) -> Critic:
    chosen = cfg.scale.stage2
    network = build_latent_discriminator(
        chosen.discriminator,
        base.unet,
        chosen.lora_rank,
        chosen.lora_alpha,
        chosen.discriminator_head,
        chosen.discriminator_filters,
        chosen.discriminator_layers,
    )
    return LatentAdversary(network, weight, chosen.discriminator_learning_rate, chosen.gan_kind)


def _distillation(cfg: DictConfig, base: DiffusionBase, weight: float) -> Critic:
    chosen, facts = cfg.scale.stage2, plain(cfg.vsd)
    network = ScoreRegulariser(
        base.unet,
        negative_prompt(cfg, base.prompt_dim),
        chosen.lora_rank,
        chosen.lora_alpha,
        tuple(plain(chosen.lora_targets) or DEFAULT_TARGETS),
    )
    first, last = facts["timesteps"]
    return ScoreDistillation(
        network,
        weight,
        chosen.regulariser_learning_rate,
        facts["guidance"],
        (int(first), int(last)),
        facts["regulariser_weight"],
    )


# Term of the loss -> its critic, in the order of their updates.
CRITICS = {LatentAdversary.term: _adversary, ScoreDistillation.term: _distillation}


def build_critics(cfg: DictConfig, base: DiffusionBase, weights: dict[str, float]) -> list[Critic]:
    """Builds the critics of the terms in ``weights``; before the base is adapted.

    Each starts alike whatever other critics there are.
    """
    critics = []
    for term, build in CRITICS.items():
        seed_everything(cfg)
        if term in weights:
            critics.append(build(cfg, base, weights[term]))
    return critics


def image_weights(weights: dict[str, float]) -> dict[str, float]:
    """Returns the weights of the terms that compare images: all but the critics'."""
    return {term: weight for term, weight in weights.items() if term not in CRITICS}
