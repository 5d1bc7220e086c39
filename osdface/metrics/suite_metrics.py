"""All figures of a suite that single images have, as one metric."""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from osdface.errors import UserError
from osdface.metrics.per_image import FeatureComparison, PerImageMean
from osdface.metrics.specification import Specification


class SuiteMetrics(PerImageMean):
    """Every per-image figure of a suite, as means over images by column.

    ``update(restored, target)`` takes images (B, 3, H, W) in [-1, 1]; without paired figures the
    target may be None.

    Args:
        parts: The metrics.
        columns: Which of their figures, by the name that they have there.
        specifications: What every column rests on.
    """

    def __init__(
        self,
        parts: Sequence[PerImageMean],
        columns: Mapping[str, str],
        specifications: Mapping[str, Specification],
    ) -> None:
        super().__init__(tuple(columns))
        self.parts = torch.nn.ModuleList(parts)
        self.columns, self.specifications = dict(columns), dict(specifications)
        self.needs_target = any(part.needs_target for part in parts)  # type: ignore[misc]

    def update(self, restored: Tensor, target: Tensor | None = None) -> None:
        """Adds a batch; UserError if a target is needed and differs in shape or is missing."""
        if self.needs_target and (target is None or target.shape != restored.shape):
            shape = None if target is None else tuple(target.shape)
            raise UserError(f"Paired figures need targets of {tuple(restored.shape)}, not {shape}.")
        self.add(self.per_image(restored.float(), None if target is None else target.float()))

    def comparisons(self, only: Collection[str]) -> dict[str, FeatureComparison]:
        """Returns column -> metric of those whose features of a target may be known already."""
        return {
            column: part
            for part in self.parts
            if isinstance(part, FeatureComparison)
            for column in only
            if self.columns[column] in part.names
        }

    def per_image(  # type: ignore[override]
        self,
        restored: Tensor,
        target: Tensor | None,
        only: Collection[str] | None = None,
        known: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Returns the columns of each image, name -> (B,), float64 on the CPU.

        Args:
            restored: (B, 3, H, W) in [-1, 1].
            target: Likewise; None where nothing needs it.
            only: Columns that are wanted; a network that gives none of them is not run.
            known: Column of :meth:`comparisons` -> the target's features, which then are not
                computed.
        """
        known = {self.columns[column]: features for column, features in (known or {}).items()}
        wanted = {k: own for k, own in self.columns.items() if only is None or k in only}
        figures: dict[str, Tensor] = {}
        with torch.no_grad():
            for part in self.parts:
                assert isinstance(part, PerImageMean)
                if not set(part.names) & set(wanted.values()):
                    continue
                if isinstance(part, FeatureComparison) and (own := set(part.names) & set(known)):
                    found = part.features(restored)
                    figures |= part.compare(found, known[own.pop()].to(found.device))
                else:
                    figures |= part.per_image(restored, target)  # type: ignore[arg-type]
        return {name: figures[own].double().cpu() for name, own in wanted.items()}

    def specification(self) -> dict[str, str]:
        """Returns for every column what it rests on, one line."""
        return {name: self.specifications[name].text() for name in self.names}
