"""What the parts of stage 1 hand on: dictionaries and discriminators, in folders and exports."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from experiments.cli.ranks import is_follower
from experiments.pipelines.build import plain, vq_config
from experiments.pipelines.fitting import barrier
from lightning_modules.dictionary import DictionaryTraining
from osdface.checkpoints.export import load_tensors, read_config, save_dictionary, save_vre
from osdface.errors import UserError
from osdface.files import atomic_folder, atomic_path
from osdface.networks.autoencoder import VQAutoencoder, VQConfig
from osdface.networks.embedder import VisualRepresentationEmbedder
from osdface.paths import find_weight

State = dict[str, Tensor]


def dictionary_file(domain: str) -> str:
    """Returns the name of an autoencoder's weights."""
    return f"dictionary_{domain}.safetensors"


def discriminator_file(domain: str) -> str:
    """Returns the name of a discriminator's weights."""
    return f"discriminator_{domain}.safetensors"


def start_folders(cfg: DictConfig) -> list[Path]:
    """Returns the exports that stage 1 starts from: one, two after ``A,B``, or none."""
    source = cfg.init_from or cfg.scale.vre.init_from
    if source is None:
        return []
    # A folder may have a comma in its name.
    names = [str(source)] if Path(str(source)).exists() else str(source).split(",")
    return [find_weight(name.strip(), cfg.weights_dir) for name in names]


def find_dictionary(folders: list[Path], domain: str, config: VQConfig) -> Path:
    """Returns the one folder with this domain's dictionary, whose sizes must be the scale's.

    Raises:
        UserError: No folder has it, two have it, or its sizes are others.
    """
    holding = [folder for folder in folders if (folder / dictionary_file(domain)).is_file()]
    if not holding:
        raise UserError(
            f"{' and '.join(map(str, folders))} has no {dictionary_file(domain)}: name an export "
            "of stage 1 with both dictionaries, or two as init_from=HQ_EXPORT,LQ_EXPORT."
        )
    if len(holding) > 1:
        raise UserError(
            f"{' and '.join(map(str, holding))} both hold {dictionary_file(domain)}: with two "
            "folders in init_from each dictionary must be in one of them only."
        )
    found = VQConfig.from_dict(read_config(holding[0])["vre"])
    if found != config:
        raise UserError(
            f"The dictionaries in {holding[0]} have sizes {found}, the scale has {config}."
        )
    return holding[0]


def load_part(training: DictionaryTraining, folder: Path, domain: str) -> None:
    """Loads autoencoder and discriminator; without a file the discriminator starts anew."""
    _load(training.autoencoder, folder / dictionary_file(domain), "scale.vre")
    path = folder / discriminator_file(domain)
    if path.is_file():
        _load(training.discriminator, path, "scale.stage1.discriminator_*")
    elif not is_follower():
        print(f"Stage 1: no {path.name} in {folder}: that discriminator starts anew", flush=True)


def _load(module: nn.Module, path: Path, keys: str) -> None:
    own = module.state_dict()
    state = {
        key: value.float() if value.is_floating_point() else value
        for key, value in load_tensors(path).items()
    }
    for key in sorted(own.keys() | state.keys()):
        if key not in own or key not in state or own[key].shape != state[key].shape:
            raise UserError(
                f"{path}: tensor {key!r} is missing or does not fit: give the {keys} that it was "
                "trained with."
            )
    module.load_state_dict(state)


def part_states(training: DictionaryTraining, domain: str) -> dict[str, State]:
    """Returns file name -> tensors of a dictionary and its discriminator."""
    states = {
        dictionary_file(domain): training.autoencoder.state_dict(),
        discriminator_file(domain): training.discriminator.state_dict(),
    }
    return {
        name: {key: value.detach().cpu().contiguous() for key, value in state.items()}
        for name, state in states.items()
    }


def save_part(training: DictionaryTraining, folder: Path, domain: str) -> None:
    """Writes a finished dictionary and its discriminator into the run folder, each atomically."""
    if not is_follower():
        for name, state in part_states(training, domain).items():
            with atomic_path(folder / name) as temporary:
                save_file(state, temporary)
    barrier()


def save_export(
    folder: Path,
    cfg: DictConfig,
    trainings: dict[str, DictionaryTraining],
    figures: dict[str, float],
) -> None:
    """Writes dictionaries, discriminators and, if LQ is there, the VRE: atomically, a folder."""
    barrier()
    if folder.exists() or is_follower():
        barrier()
        return
    facts: dict[str, Any] = {
        "made_by": f"python -m experiments.run experiment={cfg.experiment} seed={cfg.seed}",
        "data": plain(cfg.data),
        "stage1": plain(cfg.scale.stage1),
        "figures": figures,
    }
    with atomic_folder(folder) as temporary:
        if "lq" in trainings:
            _save_vre(temporary, trainings["lq"].autoencoder, facts)
        else:
            save_dictionary(temporary, vq_config(cfg), facts)
        for domain, training in trainings.items():
            for name, state in part_states(training, domain).items():
                save_file(_halved(state, cfg.scale.stage1.half_export), temporary / name)
    barrier()


def _save_vre(folder: Path, lq: VQAutoencoder, facts: dict[str, Any]) -> None:
    embedder = VisualRepresentationEmbedder.from_autoencoder_state(lq.config, lq.embedder_state())
    save_vre(folder, lq.config, embedder.state_dict(), facts)


def _halved(state: State, half: bool) -> State:
    return {k: v.half() if half and v.is_floating_point() else v for k, v in state.items()}
