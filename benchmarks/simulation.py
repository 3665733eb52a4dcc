"""Replicates of a simulation study per CPU second: all on a leading axis against one Pyro fit after another.

    python -m benchmarks.simulation [--replicates 200] [--alone 4] [--steps 1000]

2,000 records, 4 covariates, 50 items, clicks with an additive popularity effect, mean-field posteriors, one thread. The
loop is the script that one would write: pyro.plate, AutoNormal, SVI with Trace_ELBO and Adam, one replicate after
another, the same data, steps and rates. Both arms take turns, so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import time

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

from pyrorec.simulation.replicates import Design, Replicates, SmallModel, fit_replicates
from pyrorec.simulation.replicates.fit import Steps

RECORDS, COVARIATES, ITEMS = 2000, 4, 50
ROUNDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--alone", type=int, default=4, help="replicates that the loop fits")
    parser.add_argument("--steps", type=int, default=1000)
    request = parser.parse_args()
    torch.set_num_threads(1)
    design, steps = Design.drawn(RECORDS, COVARIATES, ITEMS, seed=0), Steps(request.steps)
    model = Replicates(SmallModel(), design, request.replicates)
    _, outcomes = model.draw(seed=1)
    together = loop = difference = 0.0
    for turn in range(ROUNDS):
        start = time.process_time()
        fitted = fit_replicates(model, outcomes, steps=steps, seed=turn)
        together += time.process_time() - start
        for number in range(turn, request.alone, ROUNDS):
            start = time.process_time()
            mean = one_alone(design, outcomes.values[number], steps)
            loop += time.process_time() - start
            ours = fitted.guide.location["coefficients"][number].detach()  # type: ignore[index,union-attr]
            difference = max(difference, float((mean - ours).abs().max()))
    rates = ROUNDS * request.replicates / together, request.alone / loop
    print(f"replicates per CPU second: together {rates[0]:.1f}, one after another {rates[1]:.3f}")
    print(f"{rates[0] / rates[1]:.0f} times as many")
    print(f"largest difference between the coefficients of both: {difference:.3f}")


def one_alone(design: Design, values: Tensor, steps: Steps) -> Tensor:
    """Posterior means of one replicate's coefficients, by plain Pyro."""

    def script(values: Tensor) -> None:
        coefficients = pyro.sample("coefficients", dist.Normal(centre, 1.0).to_event(1))
        log_effect = pyro.sample("log_effect", dist.Normal(torch.tensor(0.7).log(), 0.5))
        with pyro.plate("items", design.items):
            popularity = pyro.sample("popularity", dist.Normal(0.0, 1.0))
        eta = design.affinity @ coefficients + log_effect.exp() * popularity[design.item]
        with pyro.plate("records", len(design)):
            pyro.sample("value", dist.Bernoulli(logits=eta), obs=values)

    centre = torch.tensor([-1.0] + [0.0] * COVARIATES)
    rate = {"lr": steps.rate, "betas": (0.9, 0.99)}
    falling = {"lr_lambda": lambda step: steps.rate_at(step) / steps.rate}
    scheduler = pyro.optim.LambdaLR({"optimizer": torch.optim.Adam, "optim_args": rate} | falling)
    with pyro.settings.context(module_local_params=True):  # each guide keeps its own parameters
        guide = AutoNormal(script)
        svi = SVI(script, guide, scheduler, Trace_ELBO())
        for _ in range(steps.number):
            svi.step(values)
            scheduler.step()
    return guide.locs.coefficients.detach()


if __name__ == "__main__":
    main()
