"""Real-valued ratings of items that differ in how much their ratings scatter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import geometric_mean
from typing import ClassVar, Self

import torch
from torch import Tensor

from pyrorec.models.absent import ONLY_MISSING, Absent
from pyrorec.models.families.gaussian import Gaussian


@dataclass(frozen=True)
class GaussianPerItem(Gaussian):
    """r ~ N(eta, sd_i) with an sd of each item, learned (maths 6.5).

    All sds start as large as the values' own spread, but one for each item, given in the order of the log's items, is
    where that item's starts. In a model `sd` is (items,); `for_items` gives the family of cells, whose sd is that of
    their items. An item of a few ratings has a poor sd of its own: `Gaussian` shares one.
    """

    name: ClassVar[str] = "gaussian-per-item"
    varies_by_item: ClassVar[bool] = True
    absent: ClassVar[frozenset[Absent]] = ONLY_MISSING

    sd: float | Tensor | tuple[float, ...] = 1.0  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if not isinstance(self.sd, float | int | Tensor):  # a list of a configuration file, an array
            object.__setattr__(self, "sd", tuple(float(sd) for sd in self.sd))
        if isinstance(self.sd, tuple) and not all(sd > 0 for sd in self.sd):
            raise ValueError(f"family {self.name} takes sds above zero, not {min(self.sd):g}")

    def __str__(self) -> str:
        values = torch.as_tensor(self.sd).detach().flatten()
        if len(values) == 1:
            return f"{type(self).__name__}(sd={float(values[0]):.3g})"
        return (
            f"{type(self).__name__}(sd={float(values.min()):.3g} to {float(values.max()):.3g} of {len(values)} items)"
        )

    def starting(self, value: Tensor, trials: Tensor) -> Self:
        """Sds given item by item are where they start; else all as large as the values' own spread."""
        return self if isinstance(self.sd, tuple) else super().starting(value, trials)

    def items_refusal(self, items: int) -> str | None:
        """Sds given item by item are of all the items."""
        if not isinstance(self.sd, tuple) or len(self.sd) == items:
            return None
        return (
            f"Family {self.name} is given {len(self.sd)} sds and the log has {items} items: give one for each in the "
            "order of the log's items, or leave sd out."
        )

    def for_log(self, items: int) -> Self:
        """One sd for each item: a number is repeated, and items behind those given have the geometric mean of them."""
        if isinstance(self.sd, tuple) and len(self.sd) < items:
            typical = geometric_mean(self.sd)
            return replace(self, sd=self.sd + (typical,) * (items - len(self.sd)))
        return replace(self, sd=(self.sd,) * items) if isinstance(self.sd, float | int) else self

    def for_items(self, item: Tensor) -> Self:
        """The sds of some items, in the shape of their numbers."""
        if isinstance(self.sd, float | int):
            return self
        return replace(self, sd=torch.as_tensor(self.sd, device=item.device)[item])
