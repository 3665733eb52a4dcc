"""Families of whole rows against wrong ones on logs simulated from them: recovery, held-out density, predictive checks.

    python -m benchmarks.row_families [FAMILY ...]

Rows of 120 users over 40 items are drawn from a multinomial and from a Dirichlet. Six cells in ten are observed, three
in ten held out. Each log is fitted by its own family and by two families of single cells, which are wrong for it:
Poisson and negative binomial cells have to explain how much a user does, Gamma and exponential amounts scatter alike
wherever their mean lies. Two tables are printed.

The first is that of `benchmarks.families`, with the density of a user's held-out cells given their total, divided by
the number of cells, in place of single cells' (`log_row_density`); errors are paired over users. P-values are of
held-out cells, which rows anew are drawn for given their total, or cell by cell under a wrong family.

The second compares with the truth what a row identifies, logarithms of probabilities or of concentrations: correlation,
slope of the truth on the estimate, root mean square error beside that which the log's information allows (the inverse
of Fisher's information at the truth and the prior's), and how often 90 % intervals hold the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import special

import pyrorec as pr
from benchmarks.families import DRAWS, HEADER, TRAINING, Study, fitted, p_values_of, replicates
from pyrorec.data import Entry, Interactions
from pyrorec.inference.density import joint_draws, log_row_density
from pyrorec.inference.run import Run
from pyrorec.simulation.family_world import FamilyLog
from pyrorec.simulation.row_world import RowWorld

ROW_TRAINING = replace(TRAINING, schedule=pr.Joint(), epochs=800)
MULTINOMIAL = RowWorld(pr.Multinomial(), users=120, total_sd=0.7)
DIRICHLET = RowWorld(pr.Dirichlet(), users=120, level=1.0, affinity_sd=0.7)
STUDIES: dict[str, Study] = {
    "multinomial": Study(MULTINOMIAL, (pr.Poisson(), pr.NegativeBinomial())),
    "dirichlet": Study(DIRICHLET, (pr.GammaResponse(), pr.ExponentialResponse())),
}
RECOVERY_HEADER = (
    "| family | recovered | correlation | slope | error | error that the log allows | 90 % intervals hold |"
)


@dataclass(frozen=True)
class RowLaw:
    """What a family's rows identify, and how much a row says of it.

    `logs` maps eta (..., items) to logarithms of probabilities or concentrations, `slope` is its derivative in eta at
    a row (items, items); `information` is Fisher's, of a row's total and the eta of its cells, (cells, cells).
    """

    label: str
    logs: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    information: Callable[[float, np.ndarray], np.ndarray]


def multinomial_information(total: float, eta: np.ndarray) -> np.ndarray:
    """n (diag p - p p')."""
    p = special.softmax(eta)
    return total * (np.diag(p) - np.outer(p, p))


def dirichlet_information(total: float, eta: np.ndarray) -> np.ndarray:
    """diag a^2 psi1(a_i) - a a' psi1(a_0), whatever the total."""
    a = np.exp(eta)
    return np.diag(a**2 * special.polygamma(1, a)) - np.outer(a, a) * special.polygamma(1, a.sum())


def softmax_slope(eta: np.ndarray) -> np.ndarray:
    """d log p / d eta = 1 - p' in every row."""
    return np.eye(len(eta)) - special.softmax(eta)


LAWS = {
    "multinomial": RowLaw(
        "log-probabilities", lambda eta: special.log_softmax(eta, -1), softmax_slope, multinomial_information
    ),
    "dirichlet": RowLaw("log-concentrations", lambda eta: eta, lambda eta: np.eye(len(eta)), dirichlet_information),
}


def shares(value: np.ndarray, user: np.ndarray) -> np.ndarray:
    """Values over their user's total, (..., cells)."""
    total = np.stack([np.bincount(user, row) for row in np.atleast_2d(value)])
    return (value / total[:, user]).reshape(value.shape)


def rows_anew(run: Run, log: Interactions, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Values of the cells of `log` anew given each user's total, at draws of the posterior, (draws, cells)."""
    if not run.posterior.response.coupled:
        return replicates(run, log, draws, seed)
    seen = torch.as_tensor(log.matrix(Entry.PATTERN).toarray() > 0)
    totals = torch.as_tensor(np.bincount(log.user, log.value, log.n_users))
    users, out = torch.arange(log.n_users)[seen.any(1)], []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for drawn in joint_draws(run.posterior, draws, seed):
            eta = drawn.linear_mean(users).double().masked_fill(~seen[users], -torch.inf)
            value = torch.zeros(seen.shape, dtype=torch.float64)
            value[users] = run.posterior.response.sample(eta, totals[users])
            out.append(value[log.user, log.item].numpy())
    return np.stack(out)


def row_p_values(run: Run, log: Interactions, divided: bool) -> dict[str, float]:
    """P-values on the cells of a log, of its shares where totals say nothing."""
    anew, value = rows_anew(run, log), log.value
    return p_values_of(shares(anew, log.user), shares(value, log.user)) if divided else p_values_of(anew, value)


def compared(study: Study, log: FamilyLog, runs: list[Run]) -> list[str]:
    """One row of the first table; `runs` are the right family's and those of the wrong ones."""
    found = [log_row_density(run.posterior, log.test) for run in runs]
    cells = len(log.test)
    table = [study.world.family.name, f"{found[0].sum() / cells:.3f}"]
    for family, density in zip(study.wrong, found[1:], strict=True):
        lack = found[0] - density
        error = len(lack) ** 0.5 * lack.std(ddof=1) / cells
        table.append(f"{family.name}: {lack.sum() / cells:.3f} ± {error:.3f}")
    for run in runs[:2]:
        p = row_p_values(run, log.test, study.world.family.outcome.graded)
        table.append(" / ".join(f"{each:.2f}" for each in p.values()))
    return table


@dataclass(frozen=True)
class Recovery:
    """How near a posterior is to the truth, over all cells."""

    correlation: float
    slope: float
    error: float
    allowed: float
    coverage: float


def recovered(world: RowWorld, log: FamilyLog, run: Run) -> Recovery:
    """The run's posterior beside the truth of every cell, seen or not."""
    law, users = LAWS[world.family.name], torch.arange(world.users)
    draws = np.stack(
        [law.logs(drawn.linear_mean(users).double().numpy()) for drawn in joint_draws(run.posterior, DRAWS, 0)]
    )
    estimate, truth = draws.mean(0), law.logs(log.eta)
    low, high = np.quantile(draws, [0.05, 0.95], axis=0)
    covariance = np.cov(estimate.ravel(), truth.ravel())
    return Recovery(
        correlation=float(np.corrcoef(estimate.ravel(), truth.ravel())[0, 1]),
        slope=float(covariance[0, 1] / covariance[0, 0]),
        error=float(np.sqrt(((estimate - truth) ** 2).mean())),
        allowed=allowed_error(world, log, run.spec.factor_scale),  # type: ignore[union-attr]
        coverage=float(((low <= truth) & (truth <= high)).mean()),
    )


def allowed_error(world: RowWorld, log: FamilyLog, prior_sd: float) -> float:
    """Root mean variance of the cells' logs under the inverse of Fisher's information plus the prior's.

    At the true factors, which are turned and stretched so that both sides are as wide as each other: the likelihood
    does not tell such factors apart, and the prior is nearest to these. The level has no prior.
    """
    law, k = LAWS[world.family.name], world.factors
    left, size, right = np.linalg.svd(log.eta - world.level, full_matrices=False)
    wide = (world.users / world.items) ** 0.25
    theta, beta = left[:, :k] * size[:k] ** 0.5 * wide, right[:k].T * size[:k] ** 0.5 / wide
    seen = log.train.matrix(Entry.PATTERN).toarray() > 0
    totals = np.bincount(log.train.user, log.train.value, world.users)
    precision = np.full((world.users + world.items) * k + 1, prior_sd**-2)
    precision[-1] = 0.0 if world.family.name == "dirichlet" else 1.0  # of a multinomial's row the level changes nothing
    total = np.diag(precision)
    slopes = [predictor_slope(user, theta, beta) for user in range(world.users)]
    for user, slope in enumerate(slopes):
        inside = seen[user]
        total += slope[inside].T @ law.information(totals[user], log.eta[user, inside]) @ slope[inside]
    covariance = np.linalg.inv(total)
    each = [law.slope(eta) @ slope for eta, slope in zip(log.eta, slopes, strict=True)]
    return float(np.sqrt(np.mean([((slope @ covariance) * slope).sum(1) for slope in each])))


def predictor_slope(user: int, theta: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """d eta / d (theta, beta, level) of one user's row, (items, parameters)."""
    (users, k), items = theta.shape, len(beta)
    slope = np.zeros((items, (users + items) * k + 1))
    slope[:, user * k : (user + 1) * k] = beta
    for item in range(items):
        slope[item, (users + item) * k : (users + item + 1) * k] = theta[user]
    slope[:, -1] = 1.0
    return slope


def main() -> None:
    """Prints both tables of the named families, of both where none is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=", ".join(STUDIES))
    names = parser.parse_args().families
    if strange := sorted(set(names) - set(STUDIES)):
        parser.error(f"there is no study of family '{strange[0]}'; there are: {', '.join(STUDIES)}")
    found = []
    print(HEADER)
    print("|---|---|---|---|---|---|")
    for name in names or STUDIES:
        study = STUDIES[name]
        log = study.world.simulate(0)
        runs = [fitted(family, log.train, ROW_TRAINING) for family in (study.world.family, *study.wrong)]
        print("| " + " | ".join(compared(study, log, runs)) + " |", flush=True)
        assert isinstance(study.world, RowWorld)
        found.append((name, recovered(study.world, log, runs[0])))
    print(f"\n{RECOVERY_HEADER}\n|---|---|---|---|---|---|---|")
    for name, r in found:
        print(
            f"| {name} | {LAWS[name].label} | {r.correlation:.3f} | {r.slope:.3f} | {r.error:.3f} | {r.allowed:.3f} "
            f"| {100 * r.coverage:.0f} % |"
        )


if __name__ == "__main__":
    main()
