"""The models that a visitor may choose from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osdface.checkpoints.opening import TINY
from osdface.restorer import Restorer

TINY_NAME = "tiny (stand-in)"
_FULL_SIZE = 512
# As in experiments/conf/scale: what the models of these sizes are trained with.
_STRENGTHS = {True: 1.0, False: 0.35}


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        name: What visitors see; holds no path of the server beyond two folders' names.
        restorer: The loaded network.
        stand_in: Whether it is the shipped one, which knows drawn portraits alone.
    """

    name: str
    restorer: Restorer
    stand_in: bool

    @property
    def strength(self) -> float:
        """The ``strength_scale`` that suits its resolution."""
        return _STRENGTHS[self.restorer.resolution >= _FULL_SIZE]


def load_models(checkpoints: Sequence[str], **options: Any) -> dict[str, Model]:
    """Loads models by name, in the order given; "tiny" is the last one if it is not named.

    Args:
        checkpoints: What :meth:`Restorer.from_pretrained` takes.
        options: Its other arguments; ``base`` and ``weights_dir`` are not for "tiny".

    Raises:
        UserError: One is missing or does not fit.
    """
    models: dict[str, Model] = {}
    for path in dict.fromkeys([*checkpoints, TINY]):
        tiny = path == TINY
        given = {k: v for k, v in options.items() if not (tiny and k in ("base", "weights_dir"))}
        restorer = Restorer.from_pretrained(path, **given)
        name = TINY_NAME if tiny else _free(_short(path), models)
        models[name] = Model(name, restorer, tiny)
    return models


def _short(path: str) -> str:
    """RUN/full for .../RUN/full/export and .../RUN/full/checkpoints/best.ckpt is best.ckpt's."""
    parts = [part for part in Path(path).parts if part not in ("/", "export", "checkpoints")]
    return "/".join(parts[-2:]) or path


def _free(name: str, taken: dict[str, Model]) -> str:
    number, free = 2, name
    while free in taken:
        number, free = number + 1, f"{name} ({number})"
    return free
