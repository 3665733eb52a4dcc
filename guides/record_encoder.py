"""An encoder that reads a popularity off the records it explains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

HIDDEN = 16
STARTING_LOG_SPREAD = -1.0


@dataclass(frozen=True)
class GroupRecords:
    """What the records of each group say, as sums (groups,): clicks or counts, trials, and sum of trials x affinity.

    `pressure` is the sum of trials x exp(affinity), the exposure that a frailty's conjugate posterior adds to its rate.
    """

    value: Tensor
    trials: Tensor
    affinity: Tensor
    pressure: Tensor

    @classmethod
    def of(cls, group: Tensor, groups: int, value: Tensor, trials: Tensor, affinity: Tensor) -> GroupRecords:
        """Sums over the records of each group; `affinity` is what the guide holds of each record's user and item.

        Affinity counts from its mean over trials, so that an intercept which is moved in favour of popularity's level
        changes nothing that is read here. Ratings below zero count as zero.
        """

        def total(x: Tensor) -> Tensor:
            return x.new_zeros(groups).index_add(0, group, x)

        value = value.clamp_min(0.0)
        affinity = affinity - (trials * affinity).sum() / trials.sum().clamp_min(1.0)
        rate = affinity.clamp(max=30.0).exp()
        return cls(total(value), total(trials), total(trials * affinity), total(trials * rate))

    def inputs(self) -> Tensor:
        """Five numbers a group, of order one: log clicks, log trials, log clicks per pressure, mean affinity, and the
        logit of the smoothed click share."""
        per_pressure = torch.log((self.value + 0.5) / (self.pressure + 0.5))
        share = (self.value + 0.5) / (self.trials + 1.0)
        return torch.stack(
            [
                torch.log1p(self.value),
                torch.log1p(self.trials),
                per_pressure,
                self.affinity / self.trials.clamp_min(1.0),
                torch.log(share / (1 - share).clamp_min(1e-3)),
            ],
            -1,
        )


class RecordEncoder(nn.Module):
    """q(z) of a group from its records: who (through their affinities), what, and how often it was clicked.

    Location and log spread are affine in the inputs plus a small network, started at the prior's.
    """

    inputs: Tensor
    prior: Tensor

    def __init__(self, location: Tensor, log_spread: Tensor) -> None:
        super().__init__()
        self.register_buffer("inputs", torch.zeros(len(location), 5))
        self.register_buffer("prior", torch.stack([location, log_spread], -1))
        self.affine = nn.Linear(5, 2)
        self.network = nn.Sequential(nn.Linear(5, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2))
        for layer in (self.affine, self.network[-1]):
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def read(self, records: GroupRecords) -> None:
        """Takes in what the records say now; kept, without gradient, until the next refresh."""
        self.inputs.copy_(records.inputs())

    def forward(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        x = self.inputs[groups]
        location, log_spread = (self.prior[groups] + self.affine(x) + self.network(x)).unbind(-1)
        return location, log_spread.clamp(-7.0, 2.0)

    @torch.no_grad()
    def move(self, shift: Tensor) -> None:
        """Adds to every location."""
        self.affine.bias[0] += shift

    @torch.no_grad()
    def stretch(self, sd: Tensor) -> None:
        """Divides every location and spread."""
        for part in (*self.affine.parameters(), *self.network[-1].parameters()):
            part[0] /= sd
        self.prior[:, 0] /= sd
        self.affine.bias[1] -= sd.log()
