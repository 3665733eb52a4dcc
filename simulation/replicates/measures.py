"""What replicates say of an estimator: bias, error, coverage and width, each with its Monte Carlo error."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyrorec.simulation.replicates.model import Latents


def estimates(draws: Latents, truth: Latents, level: float = 0.9) -> pd.DataFrame:
    """One row for each replicate and number: site, index, replicate, truth, mean, sd, lower, upper.

    `draws` (count, R, K) and `truth` (R, K) by site. Intervals are equal-tailed.
    """
    parts = [of_site(site, draws[site], truth[site], level) for site in draws]
    return pd.concat(parts, ignore_index=True)


def of_site(site: str, draws: Tensor, truth: Tensor, level: float) -> pd.DataFrame:
    """The rows of one site."""
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2]).to(draws)
    lower, upper = torch.quantile(draws, ends, dim=0)
    replicate, index = np.indices(tuple(truth.shape))
    columns = {"truth": truth, "mean": draws.mean(0), "sd": draws.std(0), "lower": lower, "upper": upper}
    numbers = {name: value.double().numpy().ravel() for name, value in columns.items()}
    return pd.DataFrame({"site": site, "index": index.ravel(), "replicate": replicate.ravel()} | numbers)


def measures(table: pd.DataFrame, by: tuple[str, ...] = ("site",)) -> pd.DataFrame:
    """Bias, empirical standard error, RMSE, mean posterior sd, coverage and width of estimates, by groups of columns.

    Each measure is the mean over replicates of its mean within a replicate, and `..._mcse` its standard error with
    replicates as units, since numbers of one replicate share their data (Morris, White and Crowther, 2019, table 6; the
    standard error's by the delta method). Where one replicate is all there is, the errors are NaN.
    """
    rows = {}
    for key, part in table.groupby(list(by), sort=False):
        rows[key] = summary(part)
    found = pd.DataFrame(rows).T
    found.index = found.index.set_names(list(by))
    return found.reset_index()


def summary(part: pd.DataFrame) -> dict[str, float]:
    """The measures of one group."""
    error = part["mean"] - part.truth
    columns = {
        "bias": error,
        "rmse": error**2,
        "posterior_sd": part.sd,
        "coverage": ((part.lower <= part.truth) & (part.truth <= part.upper)).astype(float),
        "width": part.upper - part.lower,
    }
    replicate = pd.DataFrame(columns).groupby(part.replicate).mean()
    mean, error_of_mean = replicate.mean(), replicate.std(ddof=1) / np.sqrt(len(replicate))
    mean["rmse"] = np.sqrt(mean["rmse"])
    error_of_mean["rmse"] = error_of_mean["rmse"] / (2 * mean["rmse"]) if mean["rmse"] > 0 else np.nan
    found = {"intervals": float(len(part)), "replicates": float(len(replicate))} | standard_error(error, part)
    for name in columns:
        found |= {name: float(mean[name]), f"{name}_mcse": float(error_of_mean[name])}
    return found


def standard_error(error: pd.Series, part: pd.DataFrame) -> dict[str, float]:
    """Sd over replicates of the estimates about their mean error, pooled over numbers, and its error."""
    size = part.replicate.nunique()
    if size < 2:
        return {"standard_error": np.nan, "standard_error_mcse": np.nan}
    pooled = float(np.sqrt(error.groupby(part["index"]).var(ddof=1).mean()))
    return {"standard_error": pooled, "standard_error_mcse": pooled / np.sqrt(2 * (size - 1))}
