"""Fitting the joint model: on worlds whose truth is known, to disk and back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from interruption import stopping_after
from scipy.special import expit

import pyrorec as pr
from pyrorec.data import InputError, Interactions
from pyrorec.evaluation import log_loss
from pyrorec.inference.exposure import exposure_probability, selection_score
from pyrorec.inference.joint_posterior import read_exposure_posterior
from pyrorec.inference.scores import Predictive, pair_surface
from pyrorec.inference.validation import log_likelihood

QUIET = pr.Context(progress=False)
SHORT = pr.Training(objective=pr.Expected(), epochs=5, learning_rate=3e-2, validation_fraction=0.0)
USERS, ITEMS = 150, 60


class World:
    """Exposure driven by taste and popularity; clicks driven by `rho` times the same taste, popularity and quality."""

    def __init__(self, rho: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        theta, beta = rng.normal(0, 1, (USERS, 2)), rng.normal(0, 0.8, (ITEMS, 2))
        taste = (theta - theta.mean(0)) @ beta.T
        zeta = rng.normal(0, 1, ITEMS)
        exposure = -2.2 + 0.6 * zeta + rng.normal(0, 0.3, USERS)[:, None] + taste
        generous, quality = rng.normal(0, 0.6, USERS), rng.normal(0, 0.5, ITEMS)
        self.click = expit(-0.8 + 0.4 * zeta + generous[:, None] + quality + rho * taste)
        self.taste, self.zeta, self.rate = taste, zeta, np.exp(exposure)
        user, item = np.nonzero(rng.random((USERS, ITEMS)) < -np.expm1(-self.rate))
        value = (rng.random(len(user)) < self.click[user, item]).astype(float)
        frame = pd.DataFrame({"user_id": user, "item_id": item, "value": value})
        self.log = pr.read_interactions(frame).with_missing(pr.Unobserved())
        self.pairs = torch.arange(USERS).repeat_interleave(ITEMS), torch.arange(ITEMS).repeat(USERS)

    def loss(self, run: pr.Run) -> float:
        """Expected log-loss of a random pair."""
        with torch.no_grad():
            p = Predictive().score(pair_surface(run.posterior, pr.Observe(), *self.coded(run))).double().numpy()
        truth = self.click.reshape(-1)
        return float(log_loss(p, truth, np.ones_like(truth)))

    def coded(self, run: pr.Run) -> tuple[torch.Tensor, torch.Tensor]:
        """Every pair in the run's codes."""
        user, item = (ids.get_indexer(pair.numpy()) for ids, pair in zip(self.ids(run), self.pairs, strict=True))
        return torch.as_tensor(user), torch.as_tensor(item)

    @staticmethod
    def ids(run: pr.Run) -> tuple[pd.Index, pd.Index]:
        return run.posterior.users, run.posterior.items


def rho_of(run: pr.Run) -> float:
    """Posterior mean of the taste effect."""
    return float(run.guide.laws()["taste_effect"].mean.detach())  # type: ignore[union-attr, operator]


@pytest.fixture(scope="module")
def world() -> World:
    return World(rho=0.8)


@pytest.fixture(scope="module")
def run(world: World) -> pr.Run:
    return pr.fit(pr.JointModel(taste=pr.Dot(2)), world.log, seed=0, context=QUIET)


def test_taste_that_drives_both_is_found(world: World, run: pr.Run) -> None:
    """Popularity, and rho times taste, follow the truth; random pairs are predicted better than without taste."""
    items = run.posterior.items.to_numpy()
    popularity = run.posterior.popularity
    assert popularity is not None
    assert np.corrcoef(popularity.mean.numpy(), world.zeta[items])[0, 1] > 0.9
    affinity = run.posterior.user_mean[:, :2] @ run.posterior.item_mean[:, :2].T
    truth = 0.8 * world.taste[np.ix_(run.posterior.users.to_numpy(), items)]
    slope, _ = np.polyfit(truth.ravel(), affinity.numpy().ravel(), 1)
    assert np.corrcoef(truth.ravel(), affinity.numpy().ravel())[0, 1] > 0.7
    assert 0.5 < slope < 1.3
    additive = pr.fit(pr.PopularityModel(affinity=pr.Linear(), source=pr.ExposureCounts()), world.log, context=QUIET)
    assert world.loss(run) < world.loss(additive) - 0.02


def test_exposure_that_carries_nothing_costs_nothing() -> None:
    """Taste drives exposure alone: the outcome's coefficient goes to zero, and no random pair is predicted worse."""
    world = World(rho=0.0, seed=1)
    joint = pr.fit(pr.JointModel(taste=pr.Dot(2)), world.log, context=QUIET)
    additive = pr.fit(pr.PopularityModel(affinity=pr.Linear(), source=pr.ExposureCounts()), world.log, context=QUIET)
    assert abs(rho_of(joint)) < 0.15
    assert world.loss(joint) < world.loss(additive) + 0.002


def test_exposure_itself_is_predicted(world: World, run: pr.Run) -> None:
    posterior = read_exposure_posterior(run.model, run.guide, run.posterior.users, run.posterior.items)  # type: ignore[arg-type]
    with torch.no_grad():
        rate = Predictive().score(pair_surface(posterior, pr.Observe(), *world.coded(run))).numpy()
    truth = np.log(world.rate.reshape(-1))
    assert np.corrcoef(np.log(rate), truth)[0, 1] > 0.8
    exposed = np.zeros(len(truth))
    exposed[world.log.users[world.log.user] * ITEMS + world.log.items[world.log.item]] = 1
    assert rate.sum() == pytest.approx(exposed.sum(), rel=0.05)


def test_to_disk_and_back(run: pr.Run, tmp_path: Path) -> None:
    run.save(tmp_path / "run")
    again = pr.load(tmp_path / "run")
    assert again.spec == run.spec
    for name in ("user_mean", "user_sd", "item_mean", "item_sd", "intercept"):
        assert torch.equal(getattr(again.posterior, name), getattr(run.posterior, name))
    assert again.recommend(users=[0], k=3).equals(run.recommend(users=[0], k=3))


def test_held_out_pairs_are_masked_in_both_parts(world: World) -> None:
    """Training that holds pairs out still ends on all of them, and its watcher sees only those."""
    training = replace(
        pr.Training(objective=pr.Expected(), learning_rate=3e-2, epochs=20, validate_every=5), validation_fraction=0.2
    )
    run = pr.fit(pr.JointModel(taste=pr.Dot(2)), world.log, training=training, context=QUIET)
    watched = [line["validation"] for line in run.metrics if "validation" in line]
    assert len(watched) == 4
    assert all(-2 < score < 0 for score in watched)
    assert any(line.get("finishing") for line in run.metrics)


@pytest.mark.parametrize(
    ("missing", "training", "says"),
    [
        (pr.Zero(), pr.Training(objective=pr.Expected()), "use --missing unobserved"),
        (pr.Unobserved(), pr.Training(objective=pr.MAP()), "trained by objective expected"),
        (
            pr.Unobserved(),
            pr.Training(objective=pr.Expected(), schedule=pr.UsersThenItems()),
            "a schedule has no meaning",
        ),
        (pr.Unobserved(), pr.Training(objective=pr.Expected(), dropout=0.1), "encoders of rows"),
    ],
)
def test_what_cannot_be_fitted_is_refused(world: World, missing: object, training: pr.Training, says: str) -> None:
    log: Interactions = world.log.with_missing(missing)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=says):
        pr.fit(pr.JointModel(), log, training=training, context=QUIET)


def test_the_choice_of_a_log() -> None:
    """Clicks with zeros are clicks; ratings are ratings, never a log of ones alone."""
    cells = pd.DataFrame({"user_id": [0, 0, 1, 1], "item_id": [0, 1, 0, 1], "value": [0, 1, 1, 0]})
    found = pr.choose_joint(pr.read_interactions(cells))
    assert isinstance(found.model.family, pr.Bernoulli)
    assert isinstance(found.missing, pr.Unobserved)
    stars = pr.choose_joint(pr.read_interactions(cells.assign(value=[1, 5, 3, 4])))
    assert isinstance(stars.model.family, pr.Ordinal)
    assert not stars.model.binarise


def test_a_run_asked_about_exposure_scores_exposure(world: World, run: pr.Run) -> None:
    asked = pr.exposure_run(run)
    pairs = pd.DataFrame({"user_id": [0, 0, 1], "item_id": [0, 1, 2]})
    scored = asked.score(pairs)
    p = -np.expm1(-world.rate[pairs["user_id"], pairs["item_id"]])
    assert ((scored["lower"] > 0) & (scored["upper"] < 1) & (scored["sd"] > 0)).all()
    assert np.abs(scored["mean"] - p).max() < 0.25
    with pytest.raises(InputError, match="Only the joint model speaks of exposure"):
        pr.exposure_run(pr.fit(pr.PopularityModel(affinity=pr.Linear()), world.log, context=QUIET, training=SHORT))


def test_validation_weighs_cells_by_what_made_them_seen(world: World, run: pr.Run) -> None:
    """By the log's propensities where it has them, else by the model's own probability of exposure."""
    cells = world.log.select(np.arange(40))
    each = log_likelihood(run.posterior, cells).numpy()
    read = read_exposure_posterior(run.model, run.guide, run.posterior.users, run.posterior.items)  # type: ignore[arg-type]
    own = exposure_probability(read, cells)
    truth = -np.expm1(-world.rate[cells.users[cells.user], cells.items[cells.item]])
    assert np.corrcoef(own, truth)[0, 1] > 0.7
    given = np.linspace(0.1, 1.0, 40)
    for propensity, log in ((own, cells), (given, replace(cells, propensity=given))):
        weight = np.minimum(1 / propensity, 20 * np.mean(1 / propensity))
        expected = (weight * each).sum() / weight.sum()
        assert selection_score(log, lambda: read)(run.posterior) == pytest.approx(expected, rel=1e-6)


def test_ratings_say_how_probable_it_is_that_they_reach_a_level(tmp_path: Path) -> None:
    """Against the probabilities of single ratings under the posterior's own normal linear predictor."""
    rng = np.random.default_rng(3)
    cells = pd.DataFrame(
        {"user_id": rng.integers(30, size=400), "item_id": rng.integers(20, size=400)}
    ).drop_duplicates()
    log = pr.read_interactions(cells.assign(value=rng.integers(1, 6, len(cells)))).with_missing(pr.Unobserved())
    run = pr.fit(pr.JointModel(taste=pr.Dot(2), family=pr.Ordinal()), log, context=QUIET, training=SHORT)
    some = torch.as_tensor(log.user[:9]), torch.as_tensor(log.item[:9])
    ratings = [replace(log.select(np.arange(9)), value=np.full(9, float(r))) for r in range(1, 6)]
    single = torch.stack([log_likelihood(run.posterior, each).exp() for each in ratings])
    torch.testing.assert_close(single.sum(0), torch.ones(9).double(), rtol=1e-6, atol=1e-6)
    for level in (2, 4, 5):
        with torch.no_grad():
            cells_of = pair_surface(pr.ratings_from(run, level).posterior, pr.Observe(), *some)
            p = Predictive().score(cells_of).double()
        torch.testing.assert_close(p, single[level - 1 :].sum(0), rtol=2e-3, atol=2e-3)
    clicks = pr.ratings_from(run, 4)
    assert clicks.log.value.mean() == (log.value >= 4).mean()
    with pytest.raises(InputError, match="answers for ratings of 4 and more alone"):
        clicks.save(tmp_path / "run")
    with pytest.raises(InputError, match="A level is 2 to 5, not 1"):
        pr.ratings_from(run, 1)


@pytest.fixture(scope="module")
def told(world: World) -> Interactions:
    """The world's log with features on both sides."""
    rng = np.random.default_rng(5)
    log = world.log
    return replace(
        log,
        user_features=pd.DataFrame({"age": rng.normal(size=log.n_users)}, index=log.users),
        item_features=pd.DataFrame(
            {"new": rng.random(log.n_items) < 0.5, "size": rng.random(log.n_items)}, index=log.items
        ),
    )


def test_a_fit_told_by_features_goes_on_where_it_stopped_and_comes_back(told: Interactions, tmp_path: Path) -> None:
    """To disk and back, and bit for bit what it would have been without a stop."""
    training = replace(SHORT, checkpoint_every=2)
    whole = pr.fit(pr.JointModel(), told, seed=1, training=training, context=QUIET)
    (tmp_path / "work").mkdir()
    context = replace(QUIET, seed=1, folder=tmp_path / "work")
    with stopping_after(4):
        pr.fit(pr.JointModel(), told, training=training, context=context)
    again = pr.fit(pr.JointModel(), told, training=training, context=replace(context, resume=True))
    again.save(tmp_path / "run")
    for run in (again, pr.load(tmp_path / "run")):
        assert torch.equal(run.posterior.user_mean, whole.posterior.user_mean)
        assert torch.equal(run.posterior.item_sd, whole.posterior.item_sd)
    strangers = pd.DataFrame({"user_id": ["nobody", told.users[0]], "item_id": [told.items[0], "nothing"]})
    assert np.isfinite(again.score(strangers)["mean"]).all()


def test_neighbours_are_alike_in_taste(run: pr.Run) -> None:
    """Offsets are no part of it: the best neighbour's cosine is that of the drawn factors alone."""
    found = pr.neighbours(run, "item", k=3)
    taste = run.posterior.item_mean[:, :2]
    unit = taste / taste.norm(dim=1, keepdim=True)
    cosine = (unit @ unit.T).numpy()
    codes = [run.posterior.items.get_indexer(found[column]) for column in ("id", "neighbour")]
    assert np.corrcoef(cosine[codes[0], codes[1]], found["similarity"])[0, 1] > 0.3
    assert cosine[codes[0], codes[1]].mean() > 0.7


def test_a_view_of_a_run_is_asked_and_nothing_else(run: pr.Run, world: World, tmp_path: Path) -> None:
    seen = pr.exposure_run(run)
    for refused in (
        lambda: seen.save(tmp_path / "run"),
        lambda: pr.diagnose(seen),
        lambda: pr.evaluate(seen, world.log),
        lambda: pr.recalibrate(seen, world.log),
    ):
        with pytest.raises(InputError, match="answers for exposure alone"):
            refused()
    assert not (tmp_path / "run" / "current").exists()


def test_pairs_shown_at_random_are_no_evidence_of_choice(world: World) -> None:
    mixed = replace(world.log, exposure=np.where(np.arange(len(world.log)) < 5, "random", "biased"))
    with pytest.raises(InputError, match="say nothing of who chooses what"):
        pr.fit(pr.JointModel(), mixed, context=QUIET, training=SHORT)


def test_draws_without_gradient_are_refused(world: World) -> None:
    model = pr.JointModel(
        family=pr.Cloglog(), predictor=pr.LogAdditive(), posterior=pr.InverseGaussianPosterior(), taste=pr.Dot(2)
    )
    with pytest.raises(InputError, match="carry no gradient"):
        pr.fit(model, world.log, context=QUIET, training=replace(SHORT, objective=pr.Analytic()))
