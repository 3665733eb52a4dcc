"""Rows folded into a run whose priors read features: encoded as in training, whatever the new rows hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import pyrorec as pr
from pyrorec.data import FeatureEncoders, InputError, Sum
from pyrorec.inference.recommend import extended
from pyrorec.models.predictors import Offset

QUIET = pr.Context(progress=False)
SHORT = pr.Training(epochs=15, learning_rate=0.05, validation_fraction=0.0)
USERS, ITEMS = 40, 30
RANDOM = np.random.default_rng(3)
USER_TABLE = pd.DataFrame(
    {"user_id": range(USERS), "age": RANDOM.integers(18, 70, USERS), "zip": [f"{n % 7:05d}" for n in range(USERS)]}
)
ITEM_TABLE = pd.DataFrame(
    {"item_id": range(ITEMS), "year": RANDOM.integers(1930, 2000, ITEMS) + 0.0, "group": ["even", "odd"] * (ITEMS // 2)}
)


def log_of(users: pd.DataFrame | None, items: pd.DataFrame | None, frame: pd.DataFrame) -> pr.Interactions:
    """A log to be folded in."""
    return pr.read_interactions(frame, user_features=users, item_features=items, duplicates=Sum(), to_fit=False)


def pairs(*cells: tuple[object, object]) -> pd.DataFrame:
    return pd.DataFrame(cells, columns=["user_id", "item_id"]).assign(value=2)


@pytest.fixture(scope="module")
def log() -> pr.Interactions:
    """Counts of two groups of users and two of items."""
    user, item = np.meshgrid(np.arange(USERS), np.arange(ITEMS), indexing="ij")
    count = np.random.default_rng(0).poisson(np.where(user % 2 == item % 2, 0.8, 0.1))
    frame = pd.DataFrame({"user_id": user[count > 0], "item_id": item[count > 0], "value": count[count > 0]})
    return pr.read_interactions(frame, user_features=USER_TABLE, item_features=ITEM_TABLE)


@pytest.fixture(scope="module", params=[pr.LogAdditive(), pr.Additive(), pr.Plain()], ids=lambda p: p.name)
def run(log: pr.Interactions, request: pytest.FixtureRequest) -> pr.Run:
    return fitted(log, request.param)


@pytest.fixture(scope="module")
def plain(log: pr.Interactions) -> pr.Run:
    return fitted(log, pr.Plain())


def fitted(log: pr.Interactions, predictor: Offset) -> pr.Run:
    spec = pr.BilateralModel(
        factors=3, hidden=(6,), predictor=predictor, user_prior=pr.Cap(), item_prior=pr.Cap(hidden=(4,))
    )
    return pr.fit(spec, log, training=SHORT, context=QUIET)


def prior_by_hand(run: pr.Run, year: float, group: str) -> tuple[np.ndarray, np.ndarray]:
    """f(x) of the items' network, of year standardised over the training table and a column for each group."""
    years = ITEM_TABLE["year"].to_numpy()
    x = np.array([(year - years.mean()) / years.std(), group == "even", group == "odd"])
    w = {name: value.double().numpy() for name, value in run.model.item.prior.state_dict().items()}
    hidden = np.tanh(w["hidden.0.weight"] @ x + w["hidden.0.bias"])
    mean = w["last.weight"] @ hidden + w["last.bias"] - w["centre"] - run.model.item.centre.double().numpy()
    return mean, np.exp(w["log_scale"])


def test_copies_of_training_rows_get_the_training_posterior(run: pr.Run) -> None:
    """Three users and three items under new names, whose tables have other means than those of training."""
    cells = run.log.to_frame()[["user_id", "item_id", "value"]]
    some = [7, 3, 12]
    frames = [cells[cells[column].isin(some)] for column in ("user_id", "item_id")]
    frames = [f.assign(**{c: f[c] + 1000}) for f, c in zip(frames, ("user_id", "item_id"), strict=True)]
    users, items = (table.iloc[some] for table in (USER_TABLE, ITEM_TABLE))
    new = log_of(
        users.assign(user_id=users.user_id + 1000), items.assign(item_id=items.item_id + 1000), pd.concat(frames)
    )
    found, old = pr.fold_in(run, new), run.posterior
    for side, known in (("user", USERS), ("item", ITEMS)):
        ids = getattr(found.posterior, f"{side}s")[known:] - 1000
        assert sorted(ids) == sorted(some)
        for moment in ("mean", "sd"):
            mine, before = getattr(found.posterior, f"{side}_{moment}"), getattr(old, f"{side}_{moment}")
            assert torch.equal(mine[:known], before)
            place = getattr(run.log, f"{side}s").get_indexer(ids)
            torch.testing.assert_close(mine[known:], before[place], rtol=1e-5, atol=1e-6)
            prior = getattr(found.model, side).factor_prior()
            torch.testing.assert_close(prior.mean[known:], prior.mean[place])


def test_the_encoding_of_known_values_does_not_move_with_new_ones(plain: pr.Run) -> None:
    """Years a century later and a new category: encodings of training, and of a new item like an old one, stay."""
    twin = ITEM_TABLE.iloc[[4]].assign(item_id=100)
    odd = pd.DataFrame({"item_id": [101, 102], "year": [2099.0, 2098.0], "group": ["new", "even"]})
    new = log_of(None, pd.concat([twin, odd]), pairs((0, 100), (1, 101), (2, 102)))
    found = pr.fold_in(plain, new)
    before, after = (run.model.item.prior.features for run in (plain, found))
    place = dict(zip(found.log.items, range(ITEMS + 3), strict=True))
    assert torch.equal(after[:ITEMS], before)
    assert torch.equal(after[place[100]], before[place[4]])
    assert after[place[101], 1:].tolist() == [0, 0], "a new category is all zeros"
    assert after[place[102], 1:].tolist() == [1, 0]
    years = ITEM_TABLE["year"].to_numpy()
    assert float(after[place[101], 0]) == pytest.approx((2099 - years.mean()) / years.std())
    assert FeatureEncoders.fit(found.log) != found.feature_encoders == plain.feature_encoders


def test_an_item_without_readable_cells_has_exactly_its_prior(run: pr.Run) -> None:
    """One whose only cell is with a new user, and one without any cell, of whom the table alone knows."""
    table = pd.DataFrame({"item_id": [100, 101], "year": [1890.0, 2020.0], "group": ["odd", "even"]})
    found = pr.fold_in(run, log_of(None, table, pairs(("new", 100), ("new", 0))))
    assert 101 not in found.log.items
    posterior = extended(found, pd.Index([]), pd.Index([101]))
    for item, year, group in ((100, 1890.0, "odd"), (101, 2020.0, "even")):
        mean, sd = prior_by_hand(run, year, group)
        row = posterior.items.get_loc(item)
        np.testing.assert_allclose(posterior.item_mean[row], mean, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(posterior.item_sd[row], sd, rtol=1e-5)


def test_a_user_without_readable_cells_has_exactly_its_prior(run: pr.Run) -> None:
    """On the centred side: f of the user's row is that of the known user with the same features."""
    like = USER_TABLE.iloc[[5]].assign(user_id=100)
    found = pr.fold_in(run, log_of(like, None, pairs((100, "new"), (0, "new"))))
    with torch.no_grad():
        law = run.model.user.factor_prior(torch.tensor([int(run.log.users.get_loc(5))]))
        mean = law.mean - run.model.user.centre
    torch.testing.assert_close(found.posterior.user_mean[-1:], mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.posterior.user_sd[-1:], law.stddev)


def test_a_run_that_was_folded_into_is_saved_and_reads_further_rows_alike(plain: pr.Run, tmp_path: Path) -> None:
    table = pd.DataFrame({"item_id": [100], "year": [2099.0], "group": ["new"]})
    found = pr.fold_in(plain, log_of(None, table, pairs(("new", 100), (3, 100))))
    found.save(tmp_path / "run")
    loaded = pr.load(tmp_path / "run")
    assert loaded.feature_encoders == plain.feature_encoders
    assert torch.equal(loaded.model.item.prior.features, found.model.item.prior.features)
    again = log_of(None, table.assign(item_id=200), pairs(("newer", 200)))
    one, other = (pr.fold_in(some, again).posterior for some in (loaded, found))
    assert torch.equal(one.item_mean, other.item_mean)
    np.testing.assert_allclose(one.item_mean[-1], prior_by_hand(plain, 2099.0, "new")[0], rtol=1e-4, atol=1e-5)
    asked = pd.DataFrame({"user_id": [0, 3], "item_id": [100, 200]})
    pd.testing.assert_frame_equal(loaded.score(asked), found.score(asked))


def test_codes_that_a_small_file_has_for_numbers_are_the_text_they_were(plain: pr.Run, tmp_path: Path) -> None:
    """Zip codes are text in training, and numbers in a table that holds a few of them."""
    known = plain.log.users.get_loc(3)
    text = USER_TABLE.assign(zip=lambda t: "1" + t["zip"].str[1:])
    run = fitted(replace(plain.log, user_features=text.set_index("user_id")), pr.Plain())
    new = text.iloc[[3]].assign(user_id=100, zip=lambda t: t["zip"].astype(int))
    found = pr.fold_in(run, log_of(new, None, pairs((100, 2))))
    assert torch.equal(found.model.user.prior.features[-1], run.model.user.prior.features[known])
    found.save(tmp_path / "run")
    assert pr.load(tmp_path / "run").log.user_features.loc[100, "zip"] == "10003"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"item_id": [100], "group": ["odd"]}, r"lacks column 'year'.*: add it, empty where nothing is known\."),
        ({"item_id": [100], "year": ["n/a"], "group": ["odd"]}, r"'year' was a number or a date.*: write it as it was"),
        ({"item_id": [100], "year": [np.inf], "group": ["odd"]}, r"'year' holds infinite numbers; give finite ones"),
    ],
)
def test_tables_that_the_run_cannot_read_are_refused(plain: pr.Run, table: dict[str, list], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pr.fold_in(plain, log_of(None, pd.DataFrame(table), pairs((0, 100))))


def test_a_column_that_is_empty_is_the_mean(plain: pr.Run) -> None:
    table = pd.DataFrame({"item_id": [100], "year": [None], "group": [None]})
    found = pr.fold_in(plain, log_of(None, table, pairs((0, 100))))
    assert found.model.item.prior.features[-1].tolist() == [0, 0, 0]
