"""A run as an ArviZ object: groups, names, numbers, and what ArviZ makes of it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import pyrorec as pr
from pyrorec.inference import to_arviz as module
from pyrorec.inference.to_arviz import import_arviz, to_arviz
from pyrorec.simulation import FrailtyWorld

DRAWS = 200
GROUPS = ["posterior", "posterior_predictive", "log_likelihood", "sample_stats", "observed_data", "constant_data"]


def fitted(log: pr.Interactions, **spec: Any) -> pr.Run:
    model, short = pr.BilateralModel(factors=3, hidden=(8,), **spec), pr.Training(epochs=8, finish_epochs=2)
    return pr.fit(model, log, training=short, context=pr.Context(progress=False))


@pytest.fixture(scope="module")
def run() -> pr.Run:
    return fitted(FrailtyWorld(users=40, items=25, mean_count=0.5).simulate(5).train)


@pytest.fixture(scope="module")
def data(run: pr.Run) -> Any:
    return to_arviz(run, DRAWS, seed=3)


def flat(variable: Any) -> np.ndarray:
    """(chains, draws, ...) as (draws, ...)."""
    return variable.values.reshape(-1, *variable.shape[2:])


def test_groups_and_dimensions_are_named(run: pr.Run, data: Any) -> None:
    assert sorted(data.groups()) == sorted(GROUPS)
    dims = {name: variable.dims[2:] for name, variable in data.posterior.data_vars.items()}
    assert dims == {
        "user_factors": ("user", "factor"),
        "item_factors": ("item", "factor"),
        "popularity": ("item",),
        "activity": ("user",),
    }
    assert data.posterior_predictive["item_total"].dims[2:] == ("item",)
    assert data.posterior_predictive["user_total"].dims[2:] == ("checked_user",)
    assert data.log_likelihood["value"].dims[2:] == ("checked_user",)
    assert dict(data.posterior.sizes) == {"chain": 2, "draw": DRAWS // 2, "user": 40, "item": 25, "factor": 3} | {
        "user": run.log.n_users,
        "item": run.log.n_items,
    }
    assert list(data.posterior["item"].values) == list(run.log.items)
    assert list(data.posterior["user"].values) == list(run.log.users)
    assert list(data.log_likelihood["checked_user"].values) == list(run.log.users)


def test_an_odd_number_of_draws_is_rounded_down_to_two_chains(run: pr.Run) -> None:
    assert dict(to_arviz(run, 7).posterior.sizes)["draw"] == 3
    assert dict(to_arviz(run, 1).posterior.sizes)["draw"] == 1


def test_posterior_draws_have_the_analytic_means(run: pr.Run, data: Any) -> None:
    for name, law in (("popularity", run.posterior.popularity), ("activity", run.posterior.activity)):
        draws = flat(data.posterior[name])
        error = 4 * law.stddev.numpy() / DRAWS**0.5  # type: ignore[union-attr]
        assert (np.abs(draws.mean(0) - law.mean.numpy()) < error).all()  # type: ignore[union-attr]
    apart = (flat(data.posterior["item_factors"]) - run.posterior.item_mean.numpy()) / run.posterior.item_sd.numpy()
    assert apart.std() == pytest.approx(1, abs=0.03)


def test_moments_and_the_elbo_stand_in_constant_data(run: pr.Run, data: Any) -> None:
    np.testing.assert_array_equal(data.constant_data["item_mean"], run.posterior.item_mean)
    np.testing.assert_array_equal(data.constant_data["user_sd"], run.posterior.user_sd)
    np.testing.assert_allclose(data.constant_data["elbo"], [line["elbo"] for line in run.metrics])
    assert data.constant_data["elbo"].dims == ("epoch",)


def test_observed_totals_are_the_logs(run: pr.Run, data: Any) -> None:
    frame = run.log.to_frame()
    by_item = frame.groupby("item_id")["value"].sum()[run.log.items]
    by_user = frame.groupby("user_id")["value"].sum()[run.log.users]
    np.testing.assert_allclose(data.observed_data["item_total"], by_item)
    np.testing.assert_allclose(data.observed_data["user_total"], by_user)


def rates(run: pr.Run, data: Any, activity: bool) -> np.ndarray:
    """(draws, users, items) expected counts at every draw, with the drawn activity or with an activity of one."""
    affinity = flat(data.posterior["user_factors"]) @ flat(data.posterior["item_factors"]).transpose(0, 2, 1)
    rate = np.exp(float(run.posterior.intercept) + affinity) * flat(data.posterior["popularity"])[:, None, :]
    return rate * flat(data.posterior["activity"])[:, :, None] if activity else rate


def test_replicated_totals_are_poisson_about_the_drawn_rates(run: pr.Run, data: Any) -> None:
    rate = rates(run, data, activity=True)
    for name, expected in (("item_total", rate.sum(1)), ("user_total", rate.sum(2))):
        residual = (flat(data.posterior_predictive[name]) - expected) / expected**0.5
        assert residual.mean() == pytest.approx(0, abs=4 / residual.size**0.5)
        assert residual.std() == pytest.approx(1, abs=0.05)


def test_the_log_likelihood_of_a_row_integrates_its_activity_out(run: pr.Run, data: Any) -> None:
    """log of the integral over w of Gamma(w; alpha, alpha) times the product of Poisson(y_i; w rate_i)."""
    rate, counts = rates(run, data, activity=False), run.log.matrix().toarray()
    alpha = float(run.posterior.user_effect.population.concentration)  # type: ignore[union-attr]
    found = flat(data.log_likelihood["value"])
    log_w = np.linspace(-12, 6, 4001)
    w = np.exp(log_w)[:, None]
    prior = stats.gamma.logpdf(w[:, 0], alpha, scale=1 / alpha) + log_w  # the last term from dw = w d log w
    for user, draw in ((0, 0), (3, 17), (len(counts) - 1, DRAWS - 1)):
        cells = stats.poisson.logpmf(counts[user], w * rate[draw, user])
        expected = special.logsumexp(cells.sum(1) + prior) + np.log(log_w[1] - log_w[0])
        assert found[draw, user] == pytest.approx(expected, abs=2e-3)
    np.testing.assert_allclose(data.sample_stats["lp"], data.log_likelihood["value"].sum("checked_user"), rtol=1e-6)


def test_unobserved_cells_are_neither_replicated_nor_scored() -> None:
    """Bernoulli clicks: totals never exceed the impressions; a row's log-likelihood is that of its shown cells."""
    test = FrailtyWorld(users=40, items=25, mean_count=0.5, random_per_user=6).simulate(6).test
    run = fitted(test, family=pr.Bernoulli(), predictor=pr.Additive())
    data = to_arviz(run, 20)
    assert (data.posterior_predictive["user_total"] <= 6).all()
    assert (flat(data.posterior_predictive["item_total"]) <= test.item_counts).all()
    eta = float(run.posterior.intercept) + flat(data.posterior["user_factors"]) @ flat(
        data.posterior["item_factors"]
    ).transpose(0, 2, 1)
    own, other = (
        effect.predictor.popularity_effect for effect in (run.posterior.user_effect, run.posterior.item_effect)
    )  # type: ignore[attr-defined]
    eta = eta + own * flat(data.posterior["activity"])[:, :, None] + other * flat(data.posterior["popularity"])[:, None]
    cells = stats.bernoulli.logpmf(test.value, special.expit(eta[:, test.user, test.item]))
    expected = np.stack([np.bincount(test.user, row, test.n_users) for row in cells])
    np.testing.assert_allclose(flat(data.log_likelihood["value"]), expected, atol=1e-3)


def test_a_model_without_popularity_has_draws_of_factors_only() -> None:
    log = FrailtyWorld(users=40, items=25, mean_count=0.5).simulate(5).train
    data = to_arviz(fitted(log, predictor=pr.Plain()), 4)
    assert set(data.posterior.data_vars) == {"user_factors", "item_factors"}


def test_a_large_log_is_checked_on_a_sample_and_keeps_no_factor_draws(
    run: pr.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKED_USERS", 12)
    monkeypatch.setattr(module, "LARGEST_FACTORS", 100)
    data = to_arviz(run, 10)
    assert set(data.posterior.data_vars) == {"popularity", "activity"}
    users = list(data.log_likelihood["checked_user"].values)
    assert len(users) == 12
    assert users == sorted(users)
    totals = run.log.to_frame().groupby("user_id")["value"].sum()
    np.testing.assert_allclose(data.observed_data["user_total"], totals[users])
    assert float(data.observed_data["item_total"].sum()) == totals[users].sum()


@pytest.mark.parametrize("ids", ["text", "numbers", "mixed"])
def test_a_round_trip_through_netcdf_keeps_ids_and_numbers(run: pr.Run, data: Any, ids: str, tmp_path: Path) -> None:
    az, written = import_arviz(), data
    if ids != "text":
        users = pd.Index(np.arange(run.log.n_users) * 10)
        users = users if ids == "numbers" else pd.Index([*users[:-1], "last"], dtype=object)
        items = pd.Index(np.arange(run.log.n_items) + 500)
        other = replace(run, log=replace(run.log, users=users, items=items))
        written = to_arviz(replace(other, posterior=replace(run.posterior, users=users, items=items)), 20)
    written.to_netcdf(str(tmp_path / "posterior.nc"))
    back = az.from_netcdf(str(tmp_path / "posterior.nc"))
    assert sorted(back.groups()) == sorted(GROUPS)
    for group in GROUPS:
        for name, variable in written[group].data_vars.items():
            np.testing.assert_array_equal(back[group][name].values, variable.values)
            assert back[group][name].dims == variable.dims
    assert back.posterior["item"].values.tolist() == written.posterior["item"].values.tolist()
    assert back.posterior["user"].values.tolist() == written.posterior["user"].values.tolist()
    expected = {"text": "u001", "numbers": 0, "mixed": "0"}[ids]
    assert back.posterior["user"].values.tolist()[0] == expected
    back.close()


def test_arviz_summarises_and_compares_it(run: pr.Run, data: Any) -> None:
    az = import_arviz()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # high Pareto k, which rows with an own latent must have
        summary = az.summary(data, var_names=["popularity"])
        loo = az.loo(data, pointwise=True)
    assert len(summary) == run.log.n_items
    np.testing.assert_allclose(summary["mean"], flat(data.posterior["popularity"]).mean(0), atol=6e-4)
    assert loo.n_data_points == run.log.n_users
    assert np.isfinite(loo.elpd_loo)
    assert loo.elpd_loo < float(special.logsumexp(flat(data.log_likelihood["value"]), axis=0).sum())


def test_the_same_seed_gives_the_same_object(run: pr.Run, data: Any) -> None:
    again, other = to_arviz(run, DRAWS, seed=3), to_arviz(run, DRAWS, seed=4)
    for group, name in (("posterior", "popularity"), ("posterior_predictive", "item_total")):
        np.testing.assert_array_equal(again[group][name], data[group][name])
        assert not np.array_equal(other[group][name], data[group][name])
