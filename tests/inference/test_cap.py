"""CAP priors in a fit: what is learned, what strangers get, what is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pyro import poutine

import pyrorec as pr
from pyrorec.data import InputError
from pyrorec.inference.recommend import extended
from pyrorec.inference.train import module_local
from pyrorec.models.bilateral import Batch

QUIET = pr.Context(progress=False)
SHORT = pr.Training(epochs=25, learning_rate=0.05, validation_fraction=0.0)


@pytest.fixture(scope="module")
def log() -> pr.Interactions:
    """Two groups of users and two of items; only like meets like, and the item table says who is who, also of two
    items that the log does not hold. Users have a table too."""
    random = np.random.default_rng(0)
    user, item = np.meshgrid(np.arange(60), np.arange(40), indexing="ij")
    likes = random.random((60, 40)) < np.where(user % 2 == item % 2, 0.45, 0.05)
    frame = pd.DataFrame({"user_id": user[likes], "item_id": item[likes], "value": 1})
    items = pd.DataFrame({"item_id": [*range(40), 100, 101], "group": ["even", "odd"] * 21})
    users = pd.DataFrame({"user_id": range(60), "parity": ["even", "odd"] * 30})
    return pr.read_interactions(frame, user_features=users, item_features=items)


@pytest.fixture(scope="module")
def run(log: pr.Interactions) -> pr.Run:
    spec = pr.BilateralModel(factors=3, hidden=(8,), binarise=True, user_prior=pr.Cap(), item_prior=pr.Cap(hidden=(4,)))
    return pr.fit(spec, log, training=SHORT, context=QUIET)


def affinity(run: pr.Run, items: list[int]) -> np.ndarray:
    posterior = extended(run, run.posterior.users, pd.Index(items))
    columns = posterior.items.get_indexer(pd.Index(items))
    return posterior.linear_mean(torch.arange(60), torch.as_tensor(columns)).numpy()


def test_strangers_are_scored_by_their_features(run: pr.Run) -> None:
    even, odd = affinity(run, [100, 101]).T
    parity = np.asarray(run.posterior.users) % 2
    assert (even[parity == 0] > odd[parity == 0]).mean() > 0.9
    assert (even[parity == 1] < odd[parity == 1]).mean() > 0.9


def test_a_strangers_posterior_is_its_prior(run: pr.Run) -> None:
    found = extended(run, pd.Index(["nobody"]), pd.Index([100]))
    position = run.posterior.items.get_loc(0)  # an item with the same features
    with torch.no_grad():
        law = run.model.item.factor_prior()
        empty = run.model.user.stranger(torch.zeros(1, 2))
    torch.testing.assert_close(found.item_mean[-1], law.mean[position])
    torch.testing.assert_close(found.item_sd[-1], law.stddev[position])
    torch.testing.assert_close(found.user_mean[-1], empty.mean[0])
    assert not found.item_mean.requires_grad


def test_the_prior_of_the_centred_side_is_centred(run: pr.Run) -> None:
    with torch.no_grad():
        user, item = (side.factor_prior().mean for side in (run.model.user, run.model.item))
    assert user.mean(0).abs().max() < 1e-5
    assert user.std(0).max() > 1e-2
    assert item.mean(0).abs().max() > 1e-5


def test_the_prior_of_a_batch_is_that_of_its_rows(run: pr.Run) -> None:
    """KL(q || prior) of every site, read off the model's own trace."""
    ids = torch.tensor([7, 3, 3])
    from pyrorec.inference.observations import observe

    rows = observe(run.log, run.spec, None).all["item"]  # type: ignore[arg-type]
    with module_local():
        batch = Batch("item", ids, rows.take(ids))
        drawn = poutine.trace(run.guide).get_trace(batch, run.model)
        seen = poutine.trace(poutine.replay(run.model, drawn)).get_trace(batch)
        mean = run.model.item.prior.mean(torch.arange(40))
    torch.testing.assert_close(seen.nodes["item_factors"]["fn"].base_dist.loc, mean[ids])
    assert mean[7].ne(mean[4]).all()


def test_a_saved_run_answers_as_before(run: pr.Run, tmp_path: Path) -> None:
    run.save(tmp_path / "run")
    back = pr.load(tmp_path / "run")
    assert back.spec == run.spec
    np.testing.assert_array_equal(affinity(back, [3, 100, 101]), affinity(run, [3, 100, 101]))


def test_a_log_without_features_is_refused(log: pr.Interactions) -> None:
    spec = pr.BilateralModel(factors=2, binarise=True, item_prior=pr.Cap())
    with pytest.raises(InputError, match=r"items' factors reads item features.*--item-features"):
        pr.fit(spec, replace(log, item_features=None), training=SHORT, context=QUIET)


def test_learned_scales_shrink_what_the_log_does_not_support(log: pr.Interactions) -> None:
    """Two groups are one direction: of three factors fewer than three keep their scale."""
    spec = pr.BilateralModel(
        factors=3, hidden=(8,), binarise=True, user_prior=pr.LearnedScale(per_factor=True),
        item_prior=pr.LearnedScale(per_factor=True),
    )  # fmt: skip
    run = pr.fit(spec, log, training=replace(SHORT, epochs=60), context=QUIET)
    with torch.no_grad():
        ratio = (run.model.item.prior.scale * run.model.user.prior.scale / spec.factor_scale**2).numpy()
    assert ratio.min() < 0.6 * ratio.max()


def test_collapse_counts_what_is_used(run: pr.Run) -> None:
    table, summary = pr.collapse(run), pr.collapse_summary(run).set_index("side")
    assert list(table.columns) == [
        "side", "factor", "mean_variance", "prior_variance", "active", "kl", "mutual_information",
    ]  # fmt: skip
    kept = run.guide.posterior["item"]
    np.testing.assert_allclose(table[table["side"] == "item"]["mean_variance"], kept.mean.numpy().var(0), rtol=1e-5)
    np.testing.assert_array_equal(table["active"], table["mean_variance"] > 0.01 * table["prior_variance"])
    for side in ("user", "item"):
        of = table[table["side"] == side]
        assert summary.loc[side, "active_units"] == of["active"].sum()
        assert summary.loc[side, "kl"] == pytest.approx(of["kl"].sum())
        assert 0 < summary.loc[side, "mutual_information"] <= np.log(60)
