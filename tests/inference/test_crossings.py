"""Families, encoders and questions together, where one was made without thinking of the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pyrorec as pr
from pyrorec.data import InputError, Interactions

QUIET = pr.Context(progress=False)
SHORT = pr.Training(epochs=3, validation_fraction=0.0)
STORED = {"objective": pr.StoredSample(), "schedule": pr.Joint()}
MODEL = pr.BilateralModel(factors=2, predictor=pr.Additive(), family=pr.Gaussian())


def ratings(users: int = 30, items: int = 12, seed: int = 0) -> Interactions:
    """Real ratings about 50, each item with a noise of its own."""
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((users, items)) < 0.6)
    value = 50 + rng.normal(size=len(user)) * (1 + item)
    return pr.read_interactions(pd.DataFrame({"user_id": user, "item_id": item, "value": value}))


def counts() -> Interactions:
    rng = np.random.default_rng(1)
    user, item = np.nonzero(rng.random((25, 10)) < 0.6)
    value = 6 + rng.poisson(2, len(user))
    return pr.read_interactions(pd.DataFrame({"user_id": user, "item_id": item, "value": value}))


def test_items_noise_follows_its_item_into_a_later_fit_and_is_typical_of_new_ones() -> None:
    log = ratings()
    run = pr.fit(replace(MODEL, family=pr.GaussianPerItem()), log, context=QUIET, training=replace(SHORT, epochs=30))
    sd = pd.Series(np.asarray(run.posterior.response.sd), index=run.log.items)  # type: ignore[attr-defined]
    assert sd.max() > 1.5 * sd.min()
    frame = log.to_frame()
    turned = pr.read_interactions(frame.iloc[::-1])
    still = replace(SHORT, epochs=1, learning_rate=1e-9)
    again = pr.fit(run.spec, turned, context=QUIET, training=still, start_from=run)
    later = pd.Series(np.asarray(again.posterior.response.sd), index=again.log.items)  # type: ignore[attr-defined]
    pd.testing.assert_series_equal(later.sort_index(), sd.sort_index(), rtol=1e-5, check_dtype=False)
    new = pd.DataFrame({"user_id": [0, 1, 2], "item_id": [99, 99, 99], "value": [48.0, 50.5, 52.1]})
    grown = pr.fold_in(run, pr.read_interactions(new, to_fit=False).with_missing(log.missing))
    typical = np.exp(np.log(sd.to_numpy()).mean())
    assert float(np.asarray(grown.posterior.response.sd)[-1]) == pytest.approx(typical, rel=1e-4)  # type: ignore[attr-defined]


def test_sds_given_by_item_are_where_a_fit_starts_and_are_saved(tmp_path: Path) -> None:
    """Also with an item folded in, which has no sd of its own among those given."""
    log = ratings()
    given = tuple(np.linspace(0.5, 6.0, log.n_items).tolist())
    still = replace(SHORT, epochs=1, learning_rate=1e-9)
    run = pr.fit(replace(MODEL, family=pr.GaussianPerItem(sd=given)), log, context=QUIET, training=still)
    np.testing.assert_allclose(run.posterior.response.sd, given, rtol=1e-5)  # type: ignore[attr-defined]
    new = pd.DataFrame({"user_id": [0, 1], "item_id": [99, 99], "value": [48.0, 50.5]})
    grown = pr.fold_in(run, pr.read_interactions(new, to_fit=False).with_missing(log.missing))
    for number, found in enumerate((run, grown)):
        found.save(tmp_path / str(number))
        loaded = pr.load(tmp_path / str(number))
        assert loaded.spec == run.spec
        assert loaded.posterior.response == found.posterior.response
    assert grown.posterior.response.sd[-1] == pytest.approx(np.exp(np.log(given).mean()), rel=1e-5)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [pr.BilateralModel, pr.PopularityModel, pr.JointModel])
def test_sds_of_other_items_are_refused(kind: type) -> None:
    with pytest.raises(InputError, match=r"given 2 sds and the log has 12 items: give one for each"):
        pr.fit(kind(family=pr.GaussianPerItem(sd=(1.0, 2.0)), predictor=pr.Additive()), ratings(), context=QUIET)


def test_items_noise_is_that_of_their_cells_in_a_comparison() -> None:
    train, test = pr.split_random(ratings(), 0.3, 0)
    runs = {
        name: pr.fit(replace(MODEL, family=family), train, context=QUIET, training=replace(SHORT, epochs=30))
        for name, family in (("one", pr.Gaussian()), ("each", pr.GaussianPerItem()))
    }
    table = pr.compare(runs, test)
    assert np.isfinite(table["elpd"]).all()
    assert table.index[0] == "each"


@pytest.mark.parametrize("family", [pr.Multinomial(), pr.Dirichlet()], ids=lambda f: f.name)
def test_coupled_rows_are_trained_jointly_watched_by_rankings_and_compared_by_rows(
    family: pr.Multinomial, tmp_path: Path
) -> None:
    log = counts()
    if family.name == "dirichlet":
        log = replace(log, value=log.value / 100).with_missing(pr.Unobserved())
    train, test = pr.split_random(log, 0.2, 0)
    training = pr.Training(epochs=4, schedule=pr.Joint(), validation_fraction=0.2, validate_every=2, finish_epochs=1)
    run = pr.fit(replace(MODEL, family=family), train, context=QUIET, training=training)
    assert all(0 <= line["validation"] <= 1 for line in run.metrics if "validation" in line)
    run.save(tmp_path / "run")
    assert torch.equal(pr.load(tmp_path / "run").posterior.user_mean, run.posterior.user_mean)
    judged = pr.evaluate(run, test, at=5, baselines=())
    assert judged["ndcg@5"].notna().all()
    assert judged[["rmse", "poisson_deviance"]].isna().all(axis=None)
    table = pr.compare({"one": run, "other": run}, test)
    assert np.isfinite(table["elpd"]).all()
    assert (table["difference"] == 0).all()


def test_a_log_that_a_family_cannot_describe_is_not_judged_by_its_density() -> None:
    log = replace(ratings(), value=np.abs(ratings().value))
    run = pr.fit(replace(MODEL, family=pr.GammaResponse()), log, context=QUIET, training=SHORT)
    other = ratings(seed=4)
    with pytest.raises(InputError, match="The log to judge the run on"):
        pr.compare({"a": run, "b": run}, replace(other, value=other.value - 60))


@pytest.mark.parametrize(
    ("family", "missing", "training", "says"),
    [
        (
            pr.Gaussian(),
            pr.Unobserved(),
            {"objective": pr.StoredSample(), "schedule": pr.Joint()},
            "keeps the other side",
        ),
        (pr.GammaResponse(), pr.Zero(), {"objective": pr.Integrated()}, "cannot take an absent cell"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    family: pr.Gaussian, missing: pr.Zero, training: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        pr.fit(
            replace(MODEL, family=family), ratings().with_missing(missing), context=QUIET,
            training=replace(SHORT, **training),  # type: ignore[arg-type]
        )  # fmt: skip


def test_new_rows_do_not_move_the_features_that_a_prior_reads() -> None:
    log = ratings()
    table = pd.DataFrame({"kind": np.where(np.arange(log.n_items) % 2, "a", "b")}, index=log.items)
    log = replace(log, item_features=table)
    run = pr.fit(replace(MODEL, item_prior=pr.Cap()), log, context=QUIET, training=SHORT)
    new = pd.DataFrame({"user_id": [0, 1], "item_id": [99, 99], "value": [48.0, 50.5]})
    grown = pr.fold_in(run, pr.read_interactions(new, to_fit=False).with_missing(log.missing))
    before, after = (found.model.item.prior.features for found in (run, grown))
    assert torch.equal(after[:-1], before)
    assert not after[-1].any(), "an item of whom no table knows anything"
