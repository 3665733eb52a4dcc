"""Held-out densities of rows given their total: against scipy, against a product rule over the posterior, and in
comparisons of runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import special, stats

import pyrorec as pr
from pyrorec.data import Interactions
from pyrorec.inference import judged_cells
from pyrorec.inference.density import log_row_density
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.predictive import row_log_likelihood
from pyrorec.inference.tuning import check_outcomes
from pyrorec.inference.validation_metrics import LogLikelihood
from pyrorec.models.families import Family
from pyrorec.simulation.family_world import FamilyLog
from pyrorec.simulation.row_world import RowWorld

USERS, ITEMS = 16, 14
QUIET = pr.Context(progress=False)
JOINT = pr.Training(epochs=40, learning_rate=0.05, schedule=pr.Joint(), validation_fraction=0.0, kl_warmup=0)


def fitted(family: Family, log: Interactions, **more: object) -> pr.Run:
    model = pr.BilateralModel(factors=2, hidden=(6,), family=family, predictor=pr.Plain())
    return pr.fit(replace(model, **more), log, training=JOINT, context=QUIET)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def counts() -> FamilyLog:
    return RowWorld(pr.Multinomial(), USERS, ITEMS, total=40.0).simulate(0)


@pytest.fixture(scope="module")
def shares() -> FamilyLog:
    return RowWorld(pr.Dirichlet(), USERS, ITEMS, level=0.7, affinity_sd=0.6).simulate(1)


@pytest.fixture(scope="module")
def runs(counts: FamilyLog, shares: FamilyLog) -> dict[str, pr.Run]:
    of_counts = {f.name: fitted(f, counts.train) for f in (pr.Multinomial(), pr.Poisson(), pr.NegativeBinomial())}
    families = (pr.Dirichlet(), pr.GammaResponse(), pr.ExponentialResponse(), pr.Beta())
    return of_counts | {f.name: fitted(f, shares.train) for f in families}


def sure(posterior: Posterior) -> Posterior:
    """The posterior as a point."""
    return replace(posterior, user_sd=0 * posterior.user_sd, item_sd=0 * posterior.item_sd)


def law_of_row(family: Family, value: np.ndarray, eta: np.ndarray) -> float:
    """By scipy, log-density of a row's cells given their total."""
    if isinstance(family, pr.Dirichlet):
        return float(stats.dirichlet.logpdf(value / value.sum(), np.exp(eta)))
    return float(stats.multinomial.logpmf(value, value.sum(), special.softmax(eta)))


@pytest.mark.parametrize("name", ["multinomial", "poisson", "dirichlet"])
def test_at_a_point_a_row_has_scipys_density(
    runs: dict[str, pr.Run], counts: FamilyLog, shares: FamilyLog, name: str
) -> None:
    posterior = sure(runs[name].posterior)
    log = (shares if name == "dirichlet" else counts).test
    found = log_row_density(posterior, log, draws=2)
    eta = posterior.linear_mean(torch.arange(USERS)).double().numpy()
    assert len(found) == USERS
    for user in range(USERS):
        cells = log.user == user
        if cells.sum() < 2 or not log.value[cells].sum():
            assert abs(found[user]) < 1e-12
        else:
            value, row = log.value[cells], eta[user, log.item[cells]]
            np.testing.assert_allclose(found[user], law_of_row(posterior.response, value, row), rtol=1e-5, atol=1e-5)


def three_cells(posterior: Posterior, value: list[float]) -> Interactions:
    """User 3 with items 2, 5 and 9."""
    return Interactions(
        users=posterior.users, items=posterior.items, user=np.full(3, 3), item=np.array([9, 2, 5]),
        value=np.array(value), trials=np.ones(3),
    )  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [("multinomial", [1.0, 4, 0]), ("dirichlet", [0.02, 0.05, 0.11])])
def test_the_density_averages_whole_rows_over_the_posterior(
    runs: dict[str, pr.Run], name: str, value: list[float]
) -> None:
    """Against a hundred thousand plain draws of eta, items and user drawn together, within the errors of both."""
    posterior = runs[name].posterior
    wide = replace(posterior, user_sd=posterior.user_sd + 0.4, item_sd=posterior.item_sd + 0.2)
    rng, n = np.random.default_rng(0), 100_000
    user = wide.user_mean[3].numpy() + wide.user_sd[3].numpy() * rng.standard_normal((n, 1, 2))
    items = [9, 2, 5]
    item = wide.item_mean[items].numpy() + wide.item_sd[items].numpy() * rng.standard_normal((n, 3, 2))
    eta = (user * item).sum(-1) + float(wide.intercept)
    y = np.array(value)
    if name == "dirichlet":
        r, a = y / y.sum(), np.exp(eta)
        log_p = special.gammaln(a.sum(1)) + ((a - 1) * np.log(r) - special.gammaln(a)).sum(1)
        np.testing.assert_allclose(log_p[0], law_of_row(pr.Dirichlet(), y, eta[0]))
    else:
        log_p = stats.multinomial.logpmf(y, y.sum(), special.softmax(eta, axis=1))
    exact, error = np.exp(log_p).mean(), np.exp(log_p).std() / n**0.5
    found = np.exp([log_row_density(wide, three_cells(wide, value), 300, seed)[3] for seed in range(8)])
    assert found.std() > 0
    assert abs(found.mean() - exact) < 4 * np.hypot(error, found.std(ddof=1) / 8**0.5)
    apart = np.exp([special.logsumexp(log_p) - np.log(n), log_p.mean()])
    assert apart[0] > apart[1] * (1 + 10 * error / exact), "a mean of logarithms would differ by more than the error"


@pytest.mark.parametrize("name", ["multinomial", "dirichlet"])
def test_rows_of_a_coupled_family_are_those_of_its_own_law(
    runs: dict[str, pr.Run], counts: FamilyLog, shares: FamilyLog, name: str
) -> None:
    """The law that the model is trained by, at other draws."""
    run, log = runs[name], (counts if name == "multinomial" else shares).test
    point = replace(run, posterior=sure(run.posterior))
    np.testing.assert_allclose(
        log_row_density(point.posterior, log, 2), row_log_likelihood(point, log, 2).numpy(), rtol=1e-4, atol=1e-4
    )


def test_activity_and_scale_are_nothing_to_a_total(counts: FamilyLog) -> None:
    """Poisson rates of a user multiplied by a frailty have the same law given the total."""
    model = pr.BilateralModel(factors=2, hidden=(6,))
    training = pr.Training(epochs=5, validation_fraction=0.0)
    run = pr.fit(model, counts.train, training=training, context=QUIET)
    one = sure(run.posterior)
    effect = one.user_effect
    assert effect.law is not None
    other = replace(one, user_effect=effect.map(lambda parameter: 3 * parameter), intercept=one.intercept + 1)
    found, same = (log_row_density(posterior, counts.test, 40) for posterior in (other, one))
    np.testing.assert_allclose(found, same, rtol=1e-5)


# Comparisons


def by_hand(runs: dict[str, pr.Run], log: Interactions, draws: int) -> pd.DataFrame:
    return pd.DataFrame({name: log_row_density(run.posterior, log, draws) for name, run in runs.items()})


@pytest.mark.parametrize(
    "names", [("multinomial", "poisson", "negative-binomial"), ("dirichlet", "gamma", "exponential")]
)
def test_runs_are_compared_by_their_rows(
    runs: dict[str, pr.Run], counts: FamilyLog, shares: FamilyLog, names: tuple[str, ...]
) -> None:
    log = (counts if "poisson" in names else shares).test
    chosen = {name: runs[name] for name in names}
    found = pr.compare(chosen, log, draws=50)
    rows = by_hand(chosen, log, 50)
    number = np.bincount(log.user, minlength=USERS)
    telling = (number > 1) & (np.bincount(log.user, log.value, USERS) > 0)
    rows = rows[telling]
    apart = rows.sub(rows[found.index[0]], axis=0)
    assert (found["users"] == telling.sum()).all()
    assert (found["cells"] == number[telling].sum()).all()
    assert found["difference_se_cells"].isna().all()
    for name in names:
        np.testing.assert_allclose(found.loc[name, "elpd"], rows[name].sum())
        np.testing.assert_allclose(found.loc[name, "elpd_se"], rows[name].std() * len(rows) ** 0.5)
        np.testing.assert_allclose(found.loc[name, "difference"], apart[name].sum(), atol=1e-9)
        np.testing.assert_allclose(found.loc[name, "difference_se"], apart[name].std() * len(rows) ** 0.5, atol=1e-9)


def test_codes_of_runs_and_of_the_log_may_differ(runs: dict[str, pr.Run], counts: FamilyLog) -> None:
    """Held-out users and items in another order have the same rows."""
    one = {"multinomial": runs["multinomial"]}
    log = counts.test
    back = replace(
        log, users=log.users[::-1], items=log.items[::-1], user=USERS - 1 - log.user, item=ITEMS - 1 - log.item
    )
    np.testing.assert_allclose(pr.compare(one, back)["elpd"], pr.compare(one, log)["elpd"], rtol=1e-10)


def test_absent_items_are_choices_where_they_are_zeros(counts: FamilyLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Positives alone are held out: totals are spread over these and every item that no log has, or some of them."""
    above = counts.train.select(counts.train.value > 0).with_missing(pr.Zero())
    held_out = counts.test.select(counts.test.value > 0).with_missing(pr.Zero())
    run = {"multinomial": fitted(pr.Multinomial(), above)}
    found = pr.compare(run, held_out)
    assert any("spread over these and the held-out items" in note for note in found.attrs["notes"])
    posterior = run["multinomial"].posterior
    value = np.zeros((USERS, ITEMS))
    value[held_out.user, held_out.item] = held_out.value
    open_ = np.ones((USERS, ITEMS), bool)
    open_[above.user, above.item] = False
    open_[np.setdiff1d(np.arange(USERS), held_out.user)] = False
    user, item = np.nonzero(open_)
    whole = replace(held_out, user=user, item=item, value=value[open_], trials=np.ones(len(user)))
    np.testing.assert_allclose(found["elpd"], log_row_density(posterior, whole).sum())
    monkeypatch.setattr(judged_cells, "ZEROS_PER_USER", 2)
    few = pr.compare(run, held_out)
    assert (few["cells"] < found["cells"]).all()
    assert (few["elpd"] > found["elpd"]).all(), "fewer choices, each more probable"


def test_a_fit_may_be_tuned_by_its_rows(runs: dict[str, pr.Run], shares: FamilyLog) -> None:
    score = LogLikelihood().score(runs["dirichlet"], shares.test)
    table = pr.compare({"one": runs["dirichlet"]}, shares.test)
    np.testing.assert_allclose(score.mean, table["per_cell"].iloc[0])
    assert 0 < score.se < np.inf
    weighted = replace(shares.test, propensity=np.full(len(shares.test), 0.5))
    with pytest.raises(pr.InputError, match="one density each and no weights of single cells"):
        LogLikelihood(inverse_propensity=True).score(runs["dirichlet"], weighted)


# Refusals


def test_rows_and_single_cells_are_not_tuned_against_each_other(counts: FamilyLog) -> None:
    candidates = pr.Space.from_plain(
        {"missing": ["unobserved"], "model": {"family": ["multinomial", "poisson"], "predictor": ["plain"]}}
    ).candidates()
    check_outcomes(candidates[:1], counts.train, LogLikelihood())
    with pytest.raises(pr.InputError, match="predict different events"):
        check_outcomes(candidates, counts.train, LogLikelihood())


def test_laws_that_are_not_known_or_not_alike_are_refused(
    runs: dict[str, pr.Run], counts: FamilyLog, shares: FamilyLog
) -> None:
    with pytest.raises(pr.InputError, match="Family beta has no known law of cells given their total"):
        pr.compare({"a": runs["dirichlet"], "b": runs["beta"]}, shares.test)
    with pytest.raises(pr.InputError, match="densities of different events"):
        pr.compare({"a": runs["dirichlet"], "b": runs["poisson"]}, counts.test)
    with pytest.raises(pr.InputError, match="one trial a cell"):
        log_row_density(runs["poisson"].posterior, replace(counts.test, trials=2 * counts.test.trials))


def test_users_of_one_cell_say_nothing(runs: dict[str, pr.Run], shares: FamilyLog) -> None:
    _, first = np.unique(shares.test.user, return_index=True)
    with pytest.raises(pr.InputError, match="No user has two held-out cells"):
        pr.compare({"a": runs["dirichlet"]}, shares.test.select(np.isin(np.arange(len(shares.test)), first)))
    few = shares.test.select((shares.test.user != 4) | np.isin(np.arange(len(shares.test)), first))
    silent = int((np.bincount(few.user) == 1).sum())
    table = pr.compare({"a": runs["dirichlet"]}, few)
    assert table.attrs["notes"] == [
        f"Users with one held-out cell or zeros alone say nothing of their total: {silent} left out."
    ]
    assert table["users"].iloc[0] == len(first) - silent
