"""Starting from another run: the same scores without training, new users and items, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import pyrorec as pr
from pyrorec.data import FeatureEncoders, InputError
from pyrorec.inference.bilateral_fitting import BilateralFitting
from pyrorec.inference.factor_features import encoders_for
from pyrorec.inference.fit import begin
from pyrorec.inference.train import module_local
from pyrorec.inference.warm_start import start_from

QUIET = pr.Context(progress=False)
SHORT = pr.Training(epochs=12, learning_rate=0.03, validation_fraction=0.0)
SPECS = {
    "frailty": pr.BilateralModel(factors=2, hidden=(6,)),
    "additive": pr.BilateralModel(factors=2, hidden=(6,), predictor=pr.Additive()),
    "cap": pr.BilateralModel(factors=2, hidden=(6,), predictor=pr.Plain(), item_prior=pr.Cap()),
    "set": pr.BilateralModel(factors=2, encoder=pr.SetEncoding(hidden=(6,))),
}
every_spec = pytest.mark.parametrize("name", SPECS)


def counts(users: int, items: int, first: int = 0) -> pr.Interactions:
    random = np.random.default_rng(4)
    user, item = np.meshgrid(np.arange(first, users), np.arange(first, items), indexing="ij")
    mean = np.where(user % 2 == item % 2, 1.2, 0.2)
    count = random.poisson(mean)
    seen = count > 0
    frame = pd.DataFrame({"user_id": user[seen], "item_id": item[seen], "value": count[seen]})
    table = pd.DataFrame({"item_id": range(80), "group": ["even", "odd"] * 40})
    return pr.read_interactions(frame, item_features=table)


@pytest.fixture(scope="module")
def log() -> pr.Interactions:
    return counts(40, 30)


@pytest.fixture(scope="module")
def runs(log: pr.Interactions) -> dict[str, pr.Run]:
    trainings = {name: replace(SHORT, epochs=40 if name == "set" else 12) for name in SPECS}
    return {name: pr.fit(spec, log, training=trainings[name], context=QUIET) for name, spec in SPECS.items()}


def begun_at_random(spec: pr.BilateralModel, log: pr.Interactions, run: pr.Run) -> BilateralFitting:
    """What `fit` builds before it takes anything over from the run."""
    fitting = begin(spec, log, None, SHORT, pr.Context(seed=9, progress=False), encoders_for(spec, log, run))
    assert isinstance(fitting, BilateralFitting)
    return fitting


def begun(spec: pr.BilateralModel, log: pr.Interactions, run: pr.Run) -> BilateralFitting:
    with module_local():
        fitting = begun_at_random(spec, log, run)
        start_from(fitting, log, run)
        fitting.begin()
    return fitting


@every_spec
def test_without_training_the_scores_are_the_old_ones(name: str, log: pr.Interactions, runs: dict[str, pr.Run]) -> None:
    """Settled effects are iterated to one part in a thousand, and a set encoder's reading once more."""
    run = runs[name]
    with module_local():
        posterior = begun(SPECS[name], log, run).settled(log)
    old, new = (p.linear_mean(torch.arange(40)).detach() for p in (run.posterior, posterior))
    if name == "set":
        assert float(torch.corrcoef(torch.stack([old.flatten(), new.flatten()]))[0, 1]) > 0.97
    else:
        torch.testing.assert_close(new, old, atol=5e-3, rtol=5e-3)
    if name != "set" and run.posterior.popularity is not None:
        torch.testing.assert_close(posterior.popularity.mean, run.posterior.popularity.mean, atol=5e-3, rtol=2e-2)


@every_spec
def test_users_and_items_are_matched_by_id(name: str, runs: dict[str, pr.Run]) -> None:
    """A log whose first ten of each are gone and that has ten more of each."""
    later, run = counts(50, 40, first=10), runs[name]
    assert later.n_users == 40
    with module_local():
        fresh = begun_at_random(SPECS[name], later, run)
        start_from(fresh, later, run)  # not yet refreshed
    for side, ids, old_ids in (("user", later.users, run.log.users), ("item", later.items, run.log.items)):
        position = old_ids.get_indexer(ids)
        known = torch.as_tensor(position >= 0)
        kept, old = fresh.guide.posterior[side].mean, run.guide.posterior[side].mean
        assert torch.equal(kept[known], old[position[position >= 0]])
        assert not bool((kept[~known, None] == old[None]).all(-1).any())
        if name != "set":
            other_side = "item" if side == "user" else "user"
            table, old_table = (g.encoder[other_side].pattern for g in (fresh.guide, run.guide))
            assert torch.equal(table[known], old_table[position[position >= 0]])
            assert not bool((table[~known, None] == old_table[None]).all(-1).any())
    assert torch.equal(fresh.model.level.intercept, run.model.level.intercept)


def test_a_fit_starts_where_the_other_ended(log: pr.Interactions, runs: dict[str, pr.Run]) -> None:
    one = replace(SHORT, epochs=1, kl_warmup=0, learning_rate=1e-3)
    warm = pr.fit(SPECS["frailty"], log, training=one, context=QUIET, start_from=runs["frailty"])
    cold = pr.fit(SPECS["frailty"], log, training=one, context=QUIET)
    last = runs["frailty"].metrics[-1]["elbo"]
    assert abs(warm.metrics[0]["elbo"] - last) < 0.5 * abs(cold.metrics[0]["elbo"] - last)


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"factors": 3}, "has factors 2, and this model 3"),
        ({"hidden": (7,)}, "has hidden"),
        ({"family": pr.Bernoulli(), "binarise": True, "predictor": pr.Additive()}, "has family Poisson"),
        ({"item_prior": pr.LearnedScale()}, "has item_prior"),
    ],
)
def test_another_model_is_refused(
    changed: dict[str, object], match: str, log: pr.Interactions, runs: dict[str, pr.Run]
) -> None:
    spec = pr.BilateralModel(**({"factors": 2, "hidden": (6,)} | changed))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=match):
        begun(spec, log, runs["frailty"])


def test_a_prior_reads_other_features_by_the_encoder_of_the_run(log: pr.Interactions, runs: dict[str, pr.Run]) -> None:
    """Half of the even items are of a new category, which is none, and the odd ones encode as before: last, though they
    are the most frequent now."""
    table, run = log.item_features, runs["cap"]
    assert table is not None
    other = replace(log, item_features=table.assign(group=np.tile(["even", "odd", "new", "odd"], 20)))
    assert FeatureEncoders.fit(other) != run.feature_encoders
    fitting = begun(SPECS["cap"], other, run)
    assert run.feature_encoders.item is not None
    assert run.feature_encoders.item.names == ("group=even", "group=odd")
    row = {"even": [1.0, 0.0], "odd": [0.0, 1.0], "new": [0.0, 0.0]}
    expected = [row[group] for group in other.item_features.loc[log.items, "group"]]  # type: ignore[union-attr]
    assert fitting.model.item.prior.features.tolist() == expected
    warm = pr.fit(SPECS["cap"], other, training=replace(SHORT, epochs=1), context=QUIET, start_from=run)
    assert warm.feature_encoders == run.feature_encoders


def test_features_that_no_prior_reads_are_encoded_anew(log: pr.Interactions, runs: dict[str, pr.Run]) -> None:
    table = log.item_features
    assert table is not None
    other = replace(log, item_features=table.rename(columns={"group": "kind"}))
    assert encoders_for(SPECS["frailty"], other, runs["frailty"]) == FeatureEncoders.fit(other)


def test_features_that_lack_a_column_are_refused(log: pr.Interactions, runs: dict[str, pr.Run]) -> None:
    assert log.item_features is not None
    other = replace(log, item_features=log.item_features.rename(columns={"group": "kind"}))
    with pytest.raises(InputError, match=r"lacks column 'group'.*: add it"):
        begun(SPECS["cap"], other, runs["cap"])


def test_another_kind_of_model_is_refused(log: pr.Interactions, runs: dict[str, pr.Run]) -> None:
    with pytest.raises(InputError, match="Only a bilateral model starts from another run"):
        pr.fit(pr.PopularityModel(family=pr.Poisson(), predictor=pr.LogAdditive()), log, context=QUIET,
               training=replace(SHORT, epochs=1), start_from=runs["frailty"])  # fmt: skip
