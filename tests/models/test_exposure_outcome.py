"""The joint model of exposure and outcome: what its two sites say, and its bound without sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from torch import Tensor

from pyrorec.guides.joint import JointGuide
from pyrorec.inference.elbo import ExpectedELBO, MonteCarloELBO
from pyrorec.models.affinities import Dot, FactorisationMachine, FeaturedDot
from pyrorec.models.bilateral import Batch
from pyrorec.models.distributions import Gamma, LogNormal
from pyrorec.models.families import Bernoulli, Cloglog, Gaussian, Ordinal, Poisson
from pyrorec.models.joint import ExposureOutcome, JointModel
from pyrorec.models.posterior_families import GammaPosterior
from pyrorec.models.predictors import LogAdditive, Odds, Plain, UnfitPair
from pyrorec.models.rows import SparseRows

USERS, ITEMS = 5, 4
SPECS = {
    "additive logit": JointModel(taste=Dot(2)),
    "additive logit, exposure cloglog": JointModel(taste=Dot(2), exposure_family=Cloglog()),
    "taste told by features": JointModel(taste=FeaturedDot(2)),
    "ratings": JointModel(taste=Dot(2), family=Gaussian()),
    "ordinal ratings": JointModel(taste=Dot(2), family=Ordinal(levels=3)),
    "cloglog frailty": JointModel(taste=Dot(2), family=Cloglog(), predictor=LogAdditive()),
    "lognormal cloglog": JointModel(
        taste=Dot(2), family=Cloglog(), predictor=LogAdditive(), popularity=LogNormal(), exposure_family=Cloglog()
    ),
}
by_spec = pytest.mark.parametrize("name", SPECS)


class Small:
    """A joint model of five users and four items with random posteriors, in double precision."""

    def __init__(self, spec: JointModel) -> None:
        torch.manual_seed(1)
        features = torch.randn(USERS, 2), torch.randn(ITEMS, 1)
        self.model = ExposureOutcome(spec, *features, level=-0.4, exposure_level=-0.8).double()
        self.guide = JointGuide(self.model, torch.randn(ITEMS).double() * 0.3, lambda law: law).double()
        with torch.no_grad():
            for block in self.guide.weights.values():
                block.mean.copy_(torch.randn_like(block.mean) * 0.4)  # type: ignore[operator, union-attr]
            self.guide.weights["taste_effect"].mean.fill_(0.7)  # type: ignore[operator, union-attr]
            self.guide.refresh(self.model)
        rng = np.random.default_rng(0)
        seen = torch.as_tensor(rng.random((USERS, ITEMS)) < 0.5)
        row, column = torch.nonzero(seen, as_tuple=True)
        value = torch.as_tensor(rng.integers(0, 2, len(row))).double()
        value = value + 1 if isinstance(spec.family, Ordinal) else value
        self.rows = SparseRows.from_cells(row, column, value, torch.ones(len(row)).double(), (USERS, ITEMS))

    def batch(self, ids: list[int] | None = None) -> Batch:
        picked = torch.arange(USERS) if ids is None else torch.tensor(ids)
        return Batch("user", picked, self.rows.take(picked))

    def q(self, batch: Batch) -> None:
        self.guide(batch, self.model)

    def drawn(self, batch: Batch) -> dict[str, Any]:
        """The sites of the model at one draw of the guide."""
        trace = poutine.trace(self.q).get_trace(batch)
        model = poutine.trace(poutine.replay(self.model, trace=trace)).get_trace(batch)
        return dict(model.nodes)


@by_spec
def test_the_bound_without_sampling_is_what_monte_carlo_estimates(name: str) -> None:
    """Both are averages over draws: the same expectation, within four standard errors; the former with less noise."""
    small = Small(SPECS[name])
    batch = small.batch()
    torch.manual_seed(5)
    with torch.no_grad():
        exact = np.array([ExpectedELBO().loss(small.model, small.q, batch) for _ in range(200)])
        drawn = np.array([MonteCarloELBO().loss(small.model, small.q, batch) for _ in range(1000)])
    error = np.hypot(exact.std() / len(exact) ** 0.5, drawn.std() / len(drawn) ** 0.5)
    assert abs(exact.mean() - drawn.mean()) < 4 * error
    assert exact.std() < 0.5 * drawn.std()


@by_spec
def test_gradients_of_the_bound_equal_finite_differences(name: str) -> None:
    small = Small(SPECS[name])
    batch = small.batch()
    parameters = [
        small.guide.popularity["q"].location,
        small.guide.weights["taste_effect"].mean,
        small.model.level.intercept,
    ]
    parameters.append(small.guide.weights["item_taste_factors"].mean)  # type: ignore[arg-type]

    def loss() -> Tensor:
        torch.manual_seed(9)  # the same draw of the users' factors each time
        found: Tensor = ExpectedELBO().differentiable_loss(small.model, small.q, batch)
        return found

    gradients = torch.autograd.grad(loss(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        place, step = parameter.detach().view(-1), 1e-5
        with torch.no_grad():
            place[0] += step
            above = float(loss())
            place[0] -= 2 * step
            below = float(loss())
            place[0] += step
        assert float(gradient.reshape(-1)[0]) == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-7)


@by_spec
def test_both_sites_are_sums_over_their_cells(name: str) -> None:
    """Exposure speaks of every cell, the outcome of the exposed ones; both by the formulas, cell by cell."""
    small, spec = Small(SPECS[name]), SPECS[name]
    torch.manual_seed(2)
    with torch.no_grad():
        sites = small.drawn(small.batch())
        value = {site: node["value"] for site, node in sites.items() if node["type"] == "sample"}
        model, users, items = small.model, torch.arange(USERS), torch.arange(ITEMS)
        vectors = {
            side.name: value[f"{side.name}_factors"]
            + (side.features @ value[f"{side.name}_feature_factors"] if side.features.shape[1] else 0.0)
            for side in (model.user_taste, model.item_taste)
        }
        taste = (vectors["user_taste"] - model.user_taste.centre) @ vectors["item_taste"].T
        z = value["popularity"]
        activity = value["activity_effect"] + model.activity.features @ value["activity_weights"]
        offset = model.component("exposure_predictor").offset(z)
        rate = model.exposure_level.intercept + activity[:, None] + taste + offset
        linear = model.level.intercept + value["taste_effect"] * taste + model.user.offsets(value, users)[:, None]
        linear = linear + model.item.offsets(value, items) + model.component("predictor").offset(z)
        exposed, outcome = torch.zeros(USERS, ITEMS).double(), torch.zeros(USERS, ITEMS).double()
        exposed.view(-1)[small.rows.flat] = 1.0
        outcome.view(-1)[small.rows.flat] = small.rows.value
        one = torch.ones((), dtype=torch.float64)
        said = spec.exposure_family.log_prob(exposed, one, rate).sum(1)
        told = (model.component("family").log_prob(outcome, one, linear) * exposed).sum(1)
        torch.testing.assert_close(sites["exposure"]["fn"].log_prob(sites["exposure"]["value"]), said)
        torch.testing.assert_close(sites["value"]["fn"].log_prob(sites["value"]["value"]), told)


def test_a_masked_pair_says_nothing_of_exposure_or_outcome() -> None:
    """Held-out pairs: the bound is that of a log in which nobody could have been shown them."""
    small = Small(SPECS["additive logit"])
    masked = small.rows.trials.clone()
    masked[2] = 0.0
    rows = SparseRows(small.rows.start, small.rows.column, small.rows.value * masked, masked, ITEMS)
    batch = Batch("user", torch.arange(USERS), rows)
    with torch.no_grad():
        torch.manual_seed(4)
        sites = small.drawn(batch)
        rate = sites["exposure"]["fn"].linear_predictor(torch.Size())
        whole = small.drawn(small.batch())
        torch.testing.assert_close(whole["exposure"]["fn"].linear_predictor(torch.Size()).shape, rate.shape)
        exposed = torch.zeros(USERS, ITEMS).double()
        exposed.view(-1)[rows.flat] = masked
        known = torch.ones(USERS, ITEMS).double()
        known.view(-1)[rows.flat[2]] = 0.0
        said = (exposed * rate - known * rate.exp()).sum(1)
        torch.testing.assert_close(sites["exposure"]["fn"].log_prob(sites["exposure"]["value"]), said)
        torch.manual_seed(6)
        loss = ExpectedELBO().loss(small.model, small.q, batch)
        torch.manual_seed(6)
        other = SparseRows(rows.start, rows.column, rows.value + (1 - masked), masked, ITEMS)
    assert torch.equal(other.value * masked, rows.value)
    assert np.isfinite(loss)


def test_batches_of_users_average_to_the_whole_bound() -> None:
    """Rows stand for all rows and divergences count whole, so that the mean over a partition is the bound."""
    small = Small(SPECS["additive logit"])

    def terms(ids: list[int] | None) -> dict[str, Tensor]:
        torch.manual_seed(3)
        loss = ExpectedELBO()
        with torch.no_grad():
            loss.loss(small.model, small.q, small.batch(ids))
        assert loss.observed == {"exposure", "value"}
        return loss.terms

    whole, first, rest = terms(None), terms([0, 3]), terms([1, 2, 4])
    for site in ("exposure", "value"):
        assert float(0.4 * first[site] + 0.6 * rest[site]) == pytest.approx(float(whole[site]), rel=1e-10)
    for site in set(whole) - {"exposure", "value"}:
        assert float(first[site]) == pytest.approx(float(whole[site]), rel=1e-10)


def test_setting_the_level_changes_no_prediction() -> None:
    """`refresh` moves along orbits on which both linear predictors stay as they are."""
    small = Small(SPECS["additive logit"])
    with torch.no_grad():
        for site in ("user_effect", "item_effect", "activity_effect"):
            small.guide.weights[site].mean.add_(0.3)  # type: ignore[operator, union-attr]
        small.guide.popularity["q"].location.mul_(1.7).add_(0.5)

    def predictors() -> tuple[Tensor, Tensor]:
        means = {site: law.mean for site, law in small.guide.laws().items()}
        z = small.guide.popularity_law(small.model).mean
        laws = (small.model.rows(site, means, z, torch.arange(USERS)) for site in ("exposure", "value"))
        exposure, outcome = (law.linear_predictor(torch.Size()).detach() for law in laws)
        return exposure, outcome

    before = predictors()
    small.guide.refresh(small.model)
    for one, other in zip(before, predictors(), strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        law = small.guide.popularity_law(small.model)
    assert float((law.mean.square() + law.variance).mean()) == pytest.approx(1.0, rel=1e-9)
    assert float(small.guide.weights["item_effect"].mean.detach().mean()) == pytest.approx(0.0, abs=1e-8)  # type: ignore[arg-type, union-attr]


def test_popularity_defaults_to_what_the_predictor_takes() -> None:
    assert SPECS["cloglog frailty"].popularity == Gamma()
    assert SPECS["cloglog frailty"].posterior == GammaPosterior()
    assert isinstance(SPECS["cloglog frailty"].exposure_predictor, LogAdditive)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"predictor": Plain()}, "use predictor additive or log-additive"),
        ({"predictor": LogAdditive()}, "predictor log-additive"),
        ({"exposure_family": Bernoulli()}, "use poisson or cloglog"),
        ({"affinity": FactorisationMachine()}, "its affinity is linear"),
        ({"taste": Dot(0)}, "at least one"),
        ({"popularity": Gamma()}, "takes popularity as"),
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UnfitPair, match=says):
        JointModel(**wrong)


def test_odds_are_an_offset_too() -> None:
    assert JointModel(predictor=Odds(), family=Bernoulli()).popularity is not None
    assert JointModel(predictor=LogAdditive(), family=Poisson()).popularity == Gamma()
