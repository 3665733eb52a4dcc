"""Fitting every replicate at once by SVI."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor
from tqdm.auto import tqdm

from pyrorec.inference.elbo import AnalyticELBO
from pyrorec.inference.train import module_local
from pyrorec.simulation.replicates.guides import MeanField, ReplicateGuide
from pyrorec.simulation.replicates.model import Latents, Replicates
from pyrorec.simulation.replicates.records import Outcomes


@dataclass(frozen=True)
class Steps:
    """How replicates are fitted: Adam's `number` of steps, its rate falling from `rate` to a hundredth by a cosine."""

    number: int = 1000
    rate: float = 0.05

    def rate_at(self, step: int) -> float:
        """The rate of a step."""
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / self.number)))


@dataclass(frozen=True)
class Fitted:
    """A fitted guide, with minus its ELBO per replicate at every tenth step."""

    guide: ReplicateGuide
    losses: Tensor

    def draws(self, count: int, seed: int) -> Latents:
        """Draws of every site, (count, R, K), log effects as effects."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = self.guide.draws(count)
        if "log_effects" in found:
            found["effects"] = found.pop("log_effects").exp()
        return found


def fit_replicates(
    model: Replicates,
    outcomes: Outcomes,
    guide: type[ReplicateGuide] = MeanField,
    steps: Steps = Steps(),
    seed: int = 0,
    progress: bool = False,
) -> Fitted:
    """All replicates at once, by one ELBO with closed-form divergences that is the sum of theirs.

    Raises FloatingPointError where the ELBO is no longer finite.
    """
    with torch.random.fork_rng(devices=[]), module_local():
        torch.manual_seed(seed)
        q = guide(model)
        return Fitted(q, trained(model, q, AnalyticELBO(), outcomes, steps, progress))


def trained(
    model: Replicates, guide: ReplicateGuide, elbo: Trace_ELBO, outcomes: Outcomes, steps: Steps, progress: bool
) -> Tensor:
    """Trains the guide where it stands; minus the ELBO per replicate at every tenth step."""
    optimiser = torch.optim.Adam(guide.parameters(), lr=steps.rate, betas=(0.9, 0.99))
    losses = []
    for step in tqdm(range(steps.number), desc="steps", disable=not progress):
        optimiser.param_groups[0]["lr"] = steps.rate_at(step)
        optimiser.zero_grad()
        loss: Any = elbo.differentiable_loss(model, guide, outcomes)
        loss.backward()
        if step % 10 == 0:
            losses.append(finite(loss, step) / model.size)
        optimiser.step()
    return torch.tensor(losses)


def finite(loss: Tensor, step: int) -> float:
    """The loss as a number. Raises FloatingPointError where it is none."""
    value = float(loss.detach())
    if not math.isfinite(value):
        raise FloatingPointError(f"the ELBO of the replicates is no longer finite at step {step}: take a smaller rate")
    return value
