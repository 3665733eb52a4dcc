"""Coat: the popularity model with every predictor, prior and link, beside the baselines of `benchmarks.coat`.

    python -m benchmarks.coat_popularity [--data FILE] [--seeds 0 1 2] [--output FILE]

Protocol and measures are those of `benchmarks.coat`. Linear affinity over ids and features unless a row says otherwise;
probabilities are predictive means, and rows are ordered by them. The row "chosen" is, seed by seed, the candidate with
the best log-likelihood on a fifth of train, each held-out row weighted by its inverse propensity: unweighted, held-out
rows are as self-selected as the rest and cannot judge probabilities of random pairs. Who has random labels to set the
level by chooses by what they cannot mend, the same likelihood after the best shift, among fits that have not used the
propensities, which serve for the level: "chosen by LL*". The last rows read the base rate off 100 random labels, with a
flat prior on the shift, and with the prior that the train log's propensities give, for several sds of what propensities
leave out.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import pyrorec as pr
from benchmarks.coat import DATA, DRAWS, LABELS, Predict, clicks, judged, parts, summary
from pyrorec.data import Interactions
from pyrorec.evaluation import log_loss, shifted_log_loss
from pyrorec.inference.level import ShiftPrior
from pyrorec.inference.run import Run
from pyrorec.inference.scores import Predictive, pair_surface
from pyrorec.inference.validation_metrics import inverse_propensity_weights

EXPOSURE = pr.ExposureCounts()
LINEAR = pr.PopularityModel(affinity=pr.Linear())
ADDITIVE = replace(LINEAR, source=EXPOSURE)
QUALITY = (0.0, 0.5, 1.0)
WEIGHTED = "additive logit, inverse propensity"
OTHER_SDS = (0.1, 0.5, 1.0)


def rate_model(predictor: object, popularity: object, posterior: object = None, **parts: object) -> pr.PopularityModel:
    """A linear model with popularity on the rate scale, its prior learned."""
    return pr.PopularityModel(
        affinity=pr.Linear(), predictor=predictor, popularity=popularity, posterior=posterior, **parts
    )


RATE_PRIORS = {"gamma": pr.Gamma(), "exponential": pr.Exponential(), "lognormal": pr.LogNormal()}
RATE_PREDICTORS = {
    "log-additive cloglog": (pr.LogAdditive(), {"family": pr.Cloglog()}),
    "odds": (pr.Odds(), {}),
    "product 1 - exp(-lz)": (pr.ProductSaturation(), {}),
    "product z / (z + C)": (pr.ProductRatio(), {}),
    "product tanh(lz / 2)": (pr.ProductTanh(), {}),
}
SPECS: dict[str, pr.PopularityModel] = {
    "no popularity": replace(LINEAR, predictor=pr.Plain(), popularity=None, posterior=None),
    "additive logit, learned prior": LINEAR,
    "additive logit, exposure prior": ADDITIVE,
    "additive probit, exposure prior": replace(ADDITIVE, family=pr.Probit()),
    "additive cloglog, exposure prior": replace(ADDITIVE, family=pr.Cloglog()),
    "additive logit, amortised": replace(ADDITIVE, amortised=True),
    "additive logit, machine of 4 factors": replace(ADDITIVE, affinity=pr.FactorisationMachine(4)),
    WEIGHTED: replace(ADDITIVE, inverse_propensity=True),
    **{
        f"{name}, {prior}": rate_model(predictor, law, **more)
        for name, (predictor, more) in RATE_PREDICTORS.items()
        for prior, law in RATE_PRIORS.items()
    },
    "log-additive cloglog, gamma, weibull q": rate_model(
        pr.LogAdditive(), pr.Gamma(), pr.WeibullPosterior(), family=pr.Cloglog()
    ),
}
CANDIDATES = (
    "no popularity",
    "additive logit, learned prior",
    "additive logit, exposure prior",
    "additive logit, machine of 4 factors",
    WEIGHTED,
    "log-additive cloglog, gamma",
    "odds, gamma",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="The popularity model on Coat.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path)
    request = parser.parse_args()
    train, test = parts(request.data)
    table = pd.concat([one_seed(train, test, seed) for seed in request.seeds], ignore_index=True)
    print(summary(table.drop(columns=["choice", "choice_by_shifted"])).to_string())
    print(table.loc[table.model == "chosen", ["seed", "choice", "choice_by_shifted"]].to_string(index=False))
    if request.output:
        table.to_csv(request.output, index=False)


def one_seed(train: Interactions, test: Interactions, seed: int) -> pd.DataFrame:
    """Every row of the table once."""
    runs = {name: fitted(spec, train, seed) for name, spec in SPECS.items()}
    rows = {name: judged(predictions(run), test) for name, run in runs.items()}
    judgement = validation(train, seed)
    chosen, shifted = judgement["LL"].idxmax(), judgement["LL*"].drop(index=WEIGHTED).idxmax()
    rows["chosen"] = rows[chosen]
    for share in QUALITY:
        rows[f"chosen, deconfounded, quality share {share:g}"] = judged(
            predictions(runs[chosen], pr.Deconfound(share)), test
        )
    for name, run in {"chosen": runs[chosen], "chosen by LL*": runs[shifted]}.items():
        rows[f"{name}, {LABELS} labels"] = recalibrated(run, test, ShiftPrior(), seed)
        found = pr.shift_by_propensity(run)
        rows[f"{name}, {LABELS} labels and propensities"] = recalibrated(run, test, found, seed)
        for sd in OTHER_SDS if name != "chosen" else ():
            wider = ShiftPrior(found.mean, math.hypot(found.mean, sd))
            rows[f"{name}, {LABELS} labels and propensities, sd {sd:g}"] = recalibrated(run, test, wider, seed)
    table = pd.DataFrame(rows).T.rename_axis("model").reset_index()
    return table.assign(seed=seed, choice=chosen, choice_by_shifted=shifted)


def fitted(spec: pr.PopularityModel, train: Interactions, seed: int) -> Run:
    """The model on the clicks of train."""
    return pr.fit(spec, clicks(train), seed=seed, context=pr.Context(progress=False))


def predictions(run: Run, intervention: pr.Intervention | None = None) -> Predict:
    """Predictive click probabilities of pairs under an intervention, Observe by default."""

    @torch.no_grad()
    def predict(user: np.ndarray, item: np.ndarray) -> np.ndarray:
        cells = pair_surface(run.posterior, intervention or pr.Observe(), torch.as_tensor(user), torch.as_tensor(item))
        return Predictive().score(cells).double().numpy()

    return predict


def validation(train: Interactions, seed: int) -> pd.DataFrame:
    """Weighted log-likelihood of every candidate on a fifth of train, as it is (LL) and after the best shift (LL*)."""
    kept, held_out = pr.hold_out(train, 0.2, seed)
    cells, weight = clicks(held_out), inverse_propensity_weights(held_out)

    def found(name: str) -> dict[str, float]:
        p = predictions(fitted(SPECS[name], kept, seed))(cells.user, cells.item)
        outcome = (cells.value * weight, weight)
        return {"LL": -log_loss(p, *outcome), "LL*": -shifted_log_loss(p, *outcome)}

    return pd.DataFrame({name: found(name) for name in CANDIDATES}).T


def recalibrated(run: Run, test: Interactions, prior: ShiftPrior, seed: int) -> pd.Series:
    """The measures after the base rate is read off random labels, judged on the rest; mean over draws."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(DRAWS):
        labelled = np.isin(np.arange(len(test)), rng.permutation(len(test))[:LABELS])
        moved = pr.recalibrate(run, clicks(test.select(labelled)), prior=prior)
        rows.append(judged(predictions(moved), test.select(~labelled)))
    return pd.DataFrame(rows).mean()


if __name__ == "__main__":
    main()
