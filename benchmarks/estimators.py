"""How much do gradients vary that the four estimators of one bound give?

    python -m benchmarks.estimators [--draws 300]

One small popularity model on 60 records of 8 users and 6 items, held at a perturbed starting point: the gradient of the
loss by the two numbers of every item's q(z), 12 in all. `Expected` draws no popularity, `Analytic` one reparameterised
draw with divergences in closed form, `MonteCarlo` the same with divergences from the draw (Pyro's Trace_ELBO),
`ScoreFunction` a plain draw. Variances are summed over the 12 numbers.

Two settings. With no affinity but the intercept nothing is left to draw once popularity is integrated: Expected gives
the gradient itself, and the others' means must lie within standard errors of it. With a machine of two factors these
are drawn by every estimator, and the variance of Expected is what the factors' draws cost, the unit of the last column.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from tqdm import tqdm

from pyrorec.guides.popularity import PopularityGuide
from pyrorec.inference.objective import Analytic, Expected, MonteCarlo, Objective, ScoreFunction
from pyrorec.inference.records import Records
from pyrorec.inference.train import module_local
from pyrorec.models.affinities import Dot, FactorisationMachine
from pyrorec.models.distributions import Exponential, Gamma, LogNormal, Normal
from pyrorec.models.families import Bernoulli, Cloglog, Outcome, Poisson
from pyrorec.models.popularity import Popularity, PopularityModel
from pyrorec.models.posterior_families import GammaPosterior, LogNormalPosterior, NormalPosterior, WeibullPosterior
from pyrorec.models.predictors import Additive, LogAdditive, Odds, ProductRatio, ProductSaturation
from pyrorec.report.style import BLUE, DPI, GREEN, ORANGE, STYLE, VERMILION, canvas

USERS, ITEMS, RECORDS = 8, 6, 60
OBJECTIVES: dict[str, Objective] = {
    "Expected": Expected(),
    "Analytic": Analytic(),
    "MonteCarlo": MonteCarlo(),
    "ScoreFunction": ScoreFunction(),
}
TRIPLES = {
    "normal / normal / additive": PopularityModel(
        family=Bernoulli(), predictor=Additive(), popularity=Normal(), posterior=NormalPosterior()
    ),
    "gamma / gamma / log-additive counts": PopularityModel(
        family=Poisson(), predictor=LogAdditive(), popularity=Gamma(), posterior=GammaPosterior()
    ),
    "lognormal / lognormal / log-additive clicks": PopularityModel(
        family=Cloglog(), predictor=LogAdditive(), popularity=LogNormal(), posterior=LogNormalPosterior()
    ),
    "gamma / weibull / odds": PopularityModel(
        family=Bernoulli(), predictor=Odds(), popularity=Gamma(), posterior=WeibullPosterior()
    ),
    "lognormal / lognormal / product ratio": PopularityModel(
        family=Bernoulli(), predictor=ProductRatio(), popularity=LogNormal(), posterior=LogNormalPosterior()
    ),
    "exponential / gamma / product saturation": PopularityModel(
        family=Bernoulli(), predictor=ProductSaturation(), popularity=Exponential(), posterior=GammaPosterior()
    ),
}
FIGURE = Path(__file__).parents[1] / "docs/figures/estimators.png"
Gradient = Callable[[], np.ndarray]


def records_of(family: Any, seed: int) -> Records:
    """Random records of a family, every item met ten times."""
    g = torch.Generator().manual_seed(seed)
    user, item = torch.randint(USERS, (RECORDS,), generator=g), torch.arange(RECORDS) % ITEMS
    count = torch.poisson(torch.full((RECORDS,), 0.8).double(), generator=g)
    value = count if family.outcome is Outcome.COUNT else count.clamp(max=1)
    one = torch.ones(RECORDS).double()
    return Records(user, item, item, value, one, one, ITEMS, torch.arange(ITEMS))


def gradient_of(spec: PopularityModel, objective: Objective, seed: int = 0) -> Gradient:
    """A function that estimates the gradient anew at each call, at a point that depends on the seed alone."""
    torch.manual_seed(seed)
    model = Popularity(spec, torch.zeros(USERS, 0), torch.zeros(ITEMS, 0), torch.arange(ITEMS), None, -0.4).double()
    guide = PopularityGuide(model, None, objective.drawn).double()
    with torch.no_grad():
        for parameter in [*model.parameters(), *guide.parameters()]:
            parameter.add_(0.2 * torch.randn_like(parameter))
    batch = records_of(spec.family, seed).batch(torch.arange(RECORDS), 1.0, False)
    parameters, loss = list(guide.popularity.parameters()), objective.loss()

    def gradient() -> np.ndarray:
        value = loss.differentiable_loss(model, lambda b: guide(b, model), batch)
        return torch.cat(torch.autograd.grad(value, parameters)).numpy()

    return gradient


def draws(spec: PopularityModel, objective: Objective, number: int) -> np.ndarray:
    """(draws, 12): the gradient time and again."""
    gradient = gradient_of(spec, objective)
    torch.manual_seed(1)
    return np.stack([gradient() for _ in range(number)])


def compare(triple: str, spec: PopularityModel, number: int) -> list[dict[str, Any]]:
    """Variance of every estimator in both settings, and its largest bias, in se, where the gradient is known."""
    alone, machine = (replace(spec, affinity=a) for a in (Dot(factors=0), FactorisationMachine(factors=2)))
    exact = draws(alone, Expected(), 2)
    rows = []
    for name, objective in OBJECTIVES.items():
        x, y = draws(alone, objective, number), draws(machine, objective, number // 2)
        error = x.std(0, ddof=1) / number**0.5 + 1e-12
        rows.append(
            {
                "triple": triple,
                "estimator": name,
                "variance, z alone": x.var(0, ddof=1).sum(),
                "largest |bias| / se": float((np.abs(x.mean(0) - exact[0]) / error).max()),
                "variance, factors drawn": y.var(0, ddof=1).sum(),
            }
        )
    unit = rows[0]["variance, factors drawn"]
    return [row | {"relative to Expected": row["variance, factors drawn"] / unit} for row in rows]


def compared(number: int) -> pd.DataFrame:
    """All triples and estimators. Pyro's parameter store and the caller's randomness are left alone."""
    with torch.random.fork_rng(devices=[]), module_local():
        rows = [row for name, spec in tqdm(TRIPLES.items(), unit="triple") for row in compare(name, spec, number)]
    return pd.DataFrame(rows).set_index(["triple", "estimator"])


def picture(table: pd.DataFrame) -> None:
    """Variances by triple, one colour an estimator."""
    triples = list(TRIPLES)
    panels = {
        "z alone (Expected: none)": "variance, z alone",
        "two factors drawn as well": "variance, factors drawn",
    }
    with rc_context(STYLE):
        figure, axes = canvas(2, height=3.4, width=10.0, sharey=True)
        for axis, (title, column) in zip(axes[0], panels.items(), strict=True):
            for name, colour, marker in zip(OBJECTIVES, (BLUE, GREEN, ORANGE, VERMILION), "osD^", strict=True):
                values = table[column].xs(name, level="estimator").loc[triples].to_numpy()
                seen = values > 1e-15
                axis.semilogx(
                    values[seen], np.arange(len(triples))[seen], color=colour, marker=marker, linestyle="", label=name
                )
            axis.set(title=title, xlabel="variance of the gradient, summed", ylim=(len(triples) - 0.5, -0.5))
        axes[0, 0].set_yticks(range(len(triples)), triples)
        handles, labels = axes[0, 1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4)
        FIGURE.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(FIGURE, dpi=DPI)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=300, help="of every gradient; half as many with factors")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = compared(arguments.draws)
    print(table.to_string(float_format=lambda x: f"{x:.4g}"))
    print(f"largest bias of all: {table['largest |bias| / se'].max():.2f} standard errors")
    picture(table)


if __name__ == "__main__":
    main()
