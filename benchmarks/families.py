"""Every family of single cells against wrong ones on logs simulated from it: predictive density and checks.

    python -m benchmarks.families [FAMILY ...]

For each family a bilateral log of 60 users and 40 items is drawn from it, and it is fitted beside two wrong families.
The table gives the mean log predictive density of held-out cells, what each wrong family lacks with the standard error
of the paired difference, and posterior predictive p-values of the right family's fit and of the first wrong one's.
Densities of real-valued families at whole numbers stand for the masses of intervals of width one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

import pyrorec as pr
from pyrorec.data import Interactions
from pyrorec.inference.run import Run
from pyrorec.inference.settings import Training
from pyrorec.inference.validation import log_likelihood
from pyrorec.models.families import Family
from pyrorec.simulation.family_world import FamilyWorld

DRAWS = 200
TRAINING = Training(epochs=250, learning_rate=0.03, validation_fraction=0.0, kl_warmup=0)
SPREAD = tuple(np.exp(np.random.default_rng(5).normal(-0.6, 0.7, 40)).tolist())


@dataclass(frozen=True)
class Study:
    """A world and two families that are not its own."""

    world: FamilyWorld
    wrong: tuple[Family, Family]


STUDIES: dict[str, Study] = {
    study.world.family.name: study
    for study in (
        Study(FamilyWorld(pr.Bernoulli()), (pr.Poisson(), pr.Gaussian())),
        Study(FamilyWorld(pr.Probit()), (pr.Poisson(), pr.Gaussian())),
        Study(FamilyWorld(pr.Cloglog(), level=-0.5), (pr.Poisson(), pr.Gaussian())),
        Study(FamilyWorld(pr.Binomial(size=5)), (pr.Poisson(), pr.NegativeBinomial())),
        Study(FamilyWorld(pr.Poisson(), level=0.5, affinity_sd=0.7), (pr.Gaussian(), pr.GaussianPerItem())),
        Study(
            FamilyWorld(pr.NegativeBinomial(dispersion=0.8), level=1.0, affinity_sd=0.7), (pr.Poisson(), pr.Gaussian())
        ),
        Study(FamilyWorld(pr.Gaussian(sd=0.5), level=1.0), (pr.GaussianKnown(sd=1.0), pr.GaussianKnown(sd=0.25))),
        Study(FamilyWorld(pr.GaussianKnown(sd=0.5)), (pr.GaussianKnown(sd=1.0), pr.GaussianKnown(sd=0.25))),
        Study(FamilyWorld(pr.GaussianPerItem(sd=SPREAD)), (pr.Gaussian(), pr.GaussianKnown(sd=1.0))),
        Study(FamilyWorld(pr.ExponentialResponse(), level=0.5, affinity_sd=0.7), (pr.Gaussian(), pr.GaussianPerItem())),
        Study(
            FamilyWorld(pr.GammaResponse(shape=3.0), level=0.5, affinity_sd=0.7),
            (pr.ExponentialResponse(), pr.Gaussian()),
        ),
        Study(
            FamilyWorld(pr.HurdleGamma(shape=2.0, odds=1.5, slope=1.0), level=0.5, affinity_sd=0.7),
            (pr.Gaussian(), pr.GaussianPerItem()),
        ),
        Study(FamilyWorld(pr.Beta(precision=6.0)), (pr.Gaussian(), pr.GaussianPerItem())),
        Study(
            FamilyWorld(pr.Ordinal(gaps=(0.6, 1.6, 0.8)), level=1.0, affinity_sd=1.5), (pr.Gaussian(), pr.Binomial())
        ),
    )
}

HEADER = (
    "| family | density of held-out cells | a wrong family lacks | another lacks | p zeros / variance / largest "
    "| the same, first wrong |"
)
STATISTICS: dict[str, Callable[[np.ndarray], float]] = {
    "zeros": lambda value: float((value == 0).mean()),
    "variance": lambda value: float(value.var()),
    "largest": lambda value: float(value.max()),
}


def fitted(family: Family, log: Interactions, training: Training = TRAINING) -> Run:
    """The family's fit to a log, two factors, without popularity."""
    model = pr.BilateralModel(factors=2, family=family, predictor=pr.Plain(), hidden=(20,))
    return pr.fit(model, log, seed=0, training=training, context=pr.Context(progress=False))


def replicates(run: Run, log: Interactions, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Values of the cells of `log` anew, at draws of the posterior, (draws, cells)."""
    posterior, out = run.posterior, []
    latent = posterior.draws(draws, seed)
    family = posterior.response.for_items(torch.as_tensor(log.item))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for user, item in zip(latent["user_factors"], latent["item_factors"], strict=True):
            eta: Tensor = torch.as_tensor((user[log.user] * item[log.item]).sum(-1)).double() + posterior.intercept
            out.append(family.sample(eta, torch.as_tensor(log.trials)).numpy())
    return np.stack(out)


def p_values(run: Run, log: Interactions) -> dict[str, float]:
    """P-values of a fit on the cells of a log."""
    return p_values_of(replicates(run, log), log.value)


def p_values_of(anew: np.ndarray, value: np.ndarray) -> dict[str, float]:
    """P(T of replicates (draws, cells) >= T of the values (cells,)), ties counted as half, for each statistic."""
    found = {}
    for name, statistic in STATISTICS.items():
        drawn, seen = np.array([statistic(each) for each in anew]), statistic(value)
        tied = np.isclose(drawn, seen, rtol=1e-12, atol=0)
        found[name] = float(((drawn > seen) & ~tied).mean() + 0.5 * tied.mean())
    return found


def compared(study: Study, seed: int = 0) -> list[str]:
    """One row of the table."""
    log = study.world.simulate(seed)
    right, *wrong = (fitted(family, log.train) for family in (study.world.family, *study.wrong))
    best = log_likelihood(right.posterior, log.test)
    cells = [study.world.family.name, f"{float(best.mean()):.3f}"]
    for family, run in zip(study.wrong, wrong, strict=True):
        lack = best - log_likelihood(run.posterior, log.test)
        label = f"{family.name} {family.sd:g}" if isinstance(family, pr.GaussianKnown) else family.name
        cells.append(f"{label}: {float(lack.mean()):.3f} ± {float(lack.std()) / len(lack) ** 0.5:.3f}")
    for run in (right, wrong[0]):
        cells.append(" / ".join(f"{p:.2f}" for p in p_values(run, log.train).values()))
    return cells


def main() -> None:
    """Prints the table of the named families, of all where none is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(STUDIES))
    names = parser.parse_args().families
    if strange := sorted(set(names) - set(STUDIES)):
        parser.error(f"there is no study of family '{strange[0]}'; there are: {', '.join(STUDIES)}")
    print(HEADER)
    print("|---|---|---|---|---|---|")
    for name in names or STUDIES:
        print("| " + " | ".join(compared(STUDIES[name])) + " |", flush=True)


if __name__ == "__main__":
    main()
