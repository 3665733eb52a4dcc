"""A run as an ArviZ object with named dimensions."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrorec.inference.observations import observe
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.run import Run
from pyrorec.models.bilateral import Bilateral
from pyrorec.models.joint import ExposureOutcome
from pyrorec.models.popularity import Popularity
from pyrorec.models.rows import RowDistribution, SparseRows

CHAINS = 2
"""Independent draws laid out as pseudo-chains, because ArviZ expects chains; R-hat says nothing about them."""
CHECKED_USERS = 300
CHECKED_CELLS = 1_000_000
"""Cells of the users whose rows are replicated; with a wide catalogue there are fewer of them."""
LARGEST_FACTORS = 2_000_000
"""Numbers of factor draws kept; beyond, the posterior group leaves the factors out and keeps their moments."""


def to_arviz(run: Run, draws: int = 100, seed: int = 0) -> Any:
    """Groups posterior, posterior_predictive, log_likelihood, observed_data, sample_stats, constant_data.

    Dimensions are named user, item, factor, with ids as coordinates. posterior: popularity, activity and, where
    they are few enough, the factors. posterior_predictive and observed_data: over a sample of users (dimension
    checked_user), the totals by item and by user and each item's number of users above zero. log_likelihood: per
    user row of that sample, with its own frailty integrated out where the model does so: the unit that PSIS-LOO
    would leave out is a user.
    sample_stats: `lp`, the log-likelihood of the sample at each draw. constant_data: means and sds of the factors,
    and the ELBO per record by epoch.
    """
    az = import_arviz()
    n = max(CHAINS, draws // CHAINS * CHAINS)
    latent = run.posterior.draws(n, seed)
    checked = some_users(run, seed)
    predictive, likelihood, observed = check_users(run, latent, checked, seed)
    coords = {
        "user": labels(run.posterior.users),
        "item": labels(run.posterior.items),
        "factor": factor_labels(run),
        "checked_user": labels(run.posterior.users[checked]),
        "epoch": np.arange(len(run.metrics)),
    }
    groups = {
        "posterior": {name: chained(value) for name, value in latent.items() if keeps(value)},
        "posterior_predictive": {name: chained(value) for name, value in predictive.items()},
        "log_likelihood": {"value": chained(likelihood)},
        "observed_data": observed,
        "sample_stats": {"lp": chained(likelihood.sum(-1))},
        "constant_data": constant_data(run),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pseudo-chains are shorter than ArviZ expects of MCMC
        return az.from_dict(**groups, coords=coords, dims=DIMS)


def factor_labels(run: Run) -> np.ndarray:
    """Numbers of the factors; in the popularity model two columns follow that carry the sides' own offsets."""
    factors, columns = run.spec.factors, run.posterior.user_mean.shape[1]
    if columns == factors:
        return np.arange(factors)
    return np.asarray([*map(str, range(factors)), "user_offset", "item_offset"])


def some_users(run: Run, seed: int) -> np.ndarray:
    """Codes of the users whose rows are replicated, in order."""
    most = min(CHECKED_USERS, max(1, CHECKED_CELLS // run.log.n_items))
    return np.sort(np.random.default_rng(seed).permutation(run.log.n_users)[:most])


DIMS = {
    "user_factors": ["user", "factor"],
    "item_factors": ["item", "factor"],
    "popularity": ["item"],
    "activity": ["user"],
    "item_total": ["item"],
    "item_users": ["item"],
    "user_total": ["checked_user"],
    "value": ["checked_user"],
    "user_mean": ["user", "factor"],
    "user_sd": ["user", "factor"],
    "item_mean": ["item", "factor"],
    "item_sd": ["item", "factor"],
    "elbo": ["epoch"],
}


def import_arviz() -> Any:
    """ArviZ, without the notice of its refactor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def labels(ids: pd.Index) -> np.ndarray:
    """Ids as coordinates; mixed types become text, which NetCDF can hold."""
    values = np.asarray(ids)
    return values if values.dtype.kind in "iuf" else np.asarray([str(v) for v in values], dtype=str)


def chained(value: np.ndarray) -> np.ndarray:
    """(draws, ...) as (chains, draws, ...)."""
    return value.reshape(CHAINS, len(value) // CHAINS, *value.shape[1:])


def keeps(value: np.ndarray) -> bool:
    """Whether draws of a latent are few enough to be stored; effects always are."""
    return value.size <= LARGEST_FACTORS or value.ndim == 2


def constant_data(run: Run) -> dict[str, np.ndarray]:
    """Moments of the factors, (rows, K) each, and the ELBO per record by epoch."""
    posterior = run.posterior
    moments = {name: getattr(posterior, name).numpy() for name in ("user_mean", "user_sd", "item_mean", "item_sd")}
    return moments | {"elbo": np.array([line["elbo"] for line in run.metrics])}


@torch.no_grad()
def check_users(
    run: Run, latent: dict[str, np.ndarray], checked: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """Replicated totals, row log-likelihoods and observed totals of some users, one per draw.

    Where missing cells are zeros a replicate fills every cell; where they are unobserved, the observed ones.
    """
    ids = torch.as_tensor(checked)
    rows = observe(run.log, run.spec, None).all["user"].take(ids)
    replicated: dict[str, list[Tensor]] = {"item_total": [], "item_users": [], "user_total": []}
    likelihood = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        for number in range(len(latent["user_factors"])):
            drawn = Drawn(run.posterior, latent, number, ids)
            likely, values = checked_rows(run.model, drawn, rows, run.log.missing.weight)
            replicated["item_total"].append(values.sum(0))
            replicated["item_users"].append((values > 0).sum(0))
            replicated["user_total"].append(values.sum(1))
            likelihood.append(likely)
    above = (rows.value > 0).to(rows.value.dtype)
    observed = {
        "item_total": torch.zeros(rows.columns).index_add(0, rows.column, rows.value).numpy(),
        "item_users": torch.zeros(rows.columns).index_add(0, rows.column, above).numpy(),
        "user_total": rows.totals.numpy(),
    }
    predictive = {name: torch.stack(draws).numpy() for name, draws in replicated.items()}
    return predictive, torch.stack(likelihood).double().numpy(), observed


@dataclass(frozen=True)
class Drawn:
    """One draw, number `number` among `latent`, of everything behind the rows of some users (`ids`)."""

    posterior: Posterior
    latent: dict[str, np.ndarray]
    number: int
    ids: Tensor

    def of(self, name: str) -> Tensor | None:
        """The draw of a latent by name, None where the model has none."""
        return torch.as_tensor(self.latent[name][self.number]) if name in self.latent else None

    def factors(self) -> tuple[Tensor, Tensor]:
        """The users' rows, (users, K), and all items', (items, K)."""
        user, item = self.of("user_factors"), self.of("item_factors")
        assert user is not None
        assert item is not None
        return user[self.ids], item


@singledispatch
def checked_rows(model: Any, drawn: Drawn, rows: SparseRows, missing_weight: float) -> tuple[Tensor, Tensor]:
    """Log-likelihood of each user's row at one draw, and replicated rows, dense."""
    raise TypeError(f"no replicates are known for {type(model).__name__}")


@checked_rows.register
def _(model: Bilateral, drawn: Drawn, rows: SparseRows, missing_weight: float) -> tuple[Tensor, Tensor]:
    law, eta = row_law(model, drawn)
    return law.log_prob(rows), replicate(drawn.posterior, law, eta, rows, missing_weight)


@checked_rows.register
def _(
    model: Popularity | ExposureOutcome, drawn: Drawn, rows: SparseRows, missing_weight: float
) -> tuple[Tensor, Tensor]:
    posterior, (user, item), popularity = drawn.posterior, drawn.factors(), drawn.of("popularity")
    affinity = user @ item.T + posterior.intercept + posterior.level_shift
    popularity = torch.zeros(rows.columns) if popularity is None else popularity
    predictor = posterior.item_effect.predictor
    family = posterior.response.for_items(torch.arange(rows.columns))
    trials, value = dense_trials(affinity, rows, missing_weight), torch.zeros_like(affinity)
    value.view(-1)[rows.flat] = rows.value
    seen = trials > 0
    weight = seen.to(affinity.dtype)
    each = predictor.log_prob(family, value, trials.clamp_min(1.0), affinity, popularity)
    return each.where(seen, 0.0).sum(1), predictor.sample(family, trials.clamp_min(1.0), affinity, popularity) * weight


def dense_trials(like: Tensor, rows: SparseRows, missing_weight: float) -> Tensor:
    """Trials of every cell; a missing one has one trial where it is a whole zero, else none."""
    trials = torch.full_like(like, float(missing_weight == 1.0))
    trials.view(-1)[rows.flat] = rows.trials
    return trials


def row_law(model: Bilateral, drawn: Drawn) -> tuple[RowDistribution, Tensor]:
    """The law of some users' rows at one draw (own frailty integrated), and eta with the drawn activity."""
    user, item = drawn.factors()
    activity, other = drawn.of("activity"), drawn.of("popularity")
    own = None if activity is None else activity[drawn.ids]
    law = model.row_distribution(
        model.user, user + model.user.centre, item + model.item.centre,
        None if model.integrates(model.user) else own, other,
    )  # fmt: skip
    eta = law.factors @ law.loadings.T
    if model.integrates(model.user) and (offset := model.user.offset(own)) is not None:
        eta = eta + offset[:, None]
    return law, eta


def replicate(
    posterior: Posterior, law: RowDistribution, eta: Tensor, rows: SparseRows, missing_weight: float
) -> Tensor:
    """Dense replicated values of the rows of a law, drawn from the response; unobserved cells stay zero.

    So do missing cells that are zeros of another weight than one: no process generates a fraction of a cell.
    """
    trials = dense_trials(eta, rows, missing_weight)
    seen, family = trials > 0, posterior.response
    if family.coupled:
        return family.sample(eta.masked_fill(~seen, -torch.inf), rows.totals) * seen
    family = family.for_items(torch.arange(rows.columns))
    return law.replicate(family, eta + posterior.level_shift, trials.clamp_min(1.0)) * seen
