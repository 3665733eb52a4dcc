"""E log p(value) over normal affinity and popularity, against draws, quadrature and identities."""

from __future__ import annotations

import itertools
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from conftest import CELLWISE, plausible

from pyrorec.models.distributions import Scale
from pyrorec.models.expectations import Records, by_quadrature, expected_log_prob, integrates_affinity
from pyrorec.models.families import Bernoulli, Family, Gaussian
from pyrorec.models.laws import parameters
from pyrorec.models.predictors import Additive, LogAdditive, Odds, Plain, Predictor

DRAWS = 100_000


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


LAWS: dict[str, Any] = {
    "none": None,
    "gamma": dist.Gamma(f64(3.2), f64(2.1)),
    "exponential": dist.Exponential(f64(1.2)),
    "lognormal": dist.LogNormal(f64(0.2), f64(0.45)),
    "weibull": dist.Weibull(f64(1.3), f64(1.9)),
    "normal": dist.Normal(f64(0.4), f64(0.6)),
}
SCALE = {"none": None, "normal": Scale.LOG}
MEAN = f64([-1.5, 0.3, 0.8, -0.4, 0.1])
VARIANCE = f64([0.3, 0.05, 0.2, 0.6, 0.1])
TRIALS = f64([1.0, 3.0, 1.0, 2.0, 0.0])


def value_of(family: Family) -> torch.Tensor:
    value = f64([0.7, 2.0, -1.0, 0.3, 0.0] if family.outcome.graded else [0.0, 2.0, 1.0, 0.0, 0.0])
    return plausible(family, value, TRIALS)


def example(cls: type[Any]) -> Any:
    return Gaussian(sd=0.8) if cls is Gaussian else Additive(0.4) if cls is Additive else cls.example()


def cases() -> list[tuple[str, Predictor, Family]]:
    """All laws, predictors and families that fit together."""
    found = []
    for law, predictor, family in itertools.product(LAWS, Predictor.registry, CELLWISE):
        if SCALE.get(law, Scale.RATE) is not predictor.scale:
            continue
        try:
            example(predictor).check_family(example(family))
        except ValueError:
            continue
        found.append((law, example(predictor), example(family)))
    return found


CASES = cases()
JOINT = [case for case in CASES if integrates_affinity(LAWS[case[0]], *case[1:])]


def named(case: tuple[str, Predictor, Family]) -> str:
    return f"{case[0]}-{case[1].name}-{case[2].name}"


every_case = pytest.mark.parametrize("case", CASES, ids=named)
every_joint = pytest.mark.parametrize("case", JOINT, ids=named)


def expected(case: tuple[str, Predictor, Family], mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    law, predictor, family = case
    return expected_log_prob(LAWS[law], predictor, family, value_of(family), TRIALS, mean, variance)


def drawn(case: tuple[str, Predictor, Family], sd: torch.Tensor) -> torch.Tensor:
    """Sums over the records of log p at draws of affinity and popularity, (draws,)."""
    law, predictor, family = case
    torch.manual_seed(11)
    affinity = MEAN + sd * torch.randn(DRAWS, len(MEAN), dtype=torch.float64)
    z = torch.zeros(DRAWS, len(MEAN)).double() if LAWS[law] is None else LAWS[law].sample((DRAWS, len(MEAN)))
    return predictor.log_prob(family, value_of(family), TRIALS, affinity, z).sum(-1)


def test_what_is_integrated_with_affinity() -> None:
    """Normal linear predictors, and Poisson rates; a pair lost, or new, is noticed here."""
    families = [family.name for family in CELLWISE]
    normal = {("none", "plain", f) for f in families} | {("normal", "additive", f) for f in families}
    lognormal = {("lognormal", "log-additive", f) for f in ("poisson", "cloglog")} | {
        ("lognormal", "odds", "bernoulli")
    }
    rates = {(law, "log-additive", "poisson") for law in ("gamma", "exponential", "weibull")}
    assert {(law, p.name, f.name) for law, p, f in JOINT} == normal | lognormal | rates
    assert len(CASES) > len(JOINT)


@every_joint
def test_affinity_and_popularity_together_equal_their_draws(case: tuple[str, Predictor, Family]) -> None:
    draws = drawn(case, VARIANCE.sqrt())
    exact = float(expected(case, MEAN, VARIANCE).sum())
    assert exact == pytest.approx(float(draws.mean()), abs=4 * float(draws.std()) / DRAWS**0.5)
    # and the variance of affinity matters by more than that
    assert abs(exact - float(expected(case, MEAN, 0 * VARIANCE).sum())) > 8 * float(draws.std()) / DRAWS**0.5


@every_case
def test_known_affinity_equals_draws_of_popularity(case: tuple[str, Predictor, Family]) -> None:
    """Closed forms and the law's rule alike, among the latter Weibull and exponential odds."""
    draws = drawn(case, 0 * VARIANCE)
    exact = float(expected(case, MEAN, 0 * VARIANCE).sum())
    assert exact == pytest.approx(float(draws.mean()), rel=1e-9, abs=4 * float(draws.std()) / DRAWS**0.5)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "none"], ids=named)
def test_closed_forms_agree_with_the_rule_of_the_law(case: tuple[str, Predictor, Family]) -> None:
    law, predictor, family = case
    by_rule = by_quadrature(LAWS[law], predictor, family, Records(value_of(family), TRIALS), MEAN)
    torch.testing.assert_close(expected(case, MEAN, 0 * VARIANCE), by_rule, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("case", [case for case in CASES if case[0] != "none"], ids=named)
def test_an_index_points_records_at_laws(case: tuple[str, Predictor, Family]) -> None:
    """A law a group, met by records of it, is that law written out for each record."""
    law, predictor, family = case
    index = torch.tensor([1, 0, 1, 1, 0])
    kind, spread = type(LAWS[law]), f64([0.8, 1.3])
    two = [parameter * spread for parameter in parameters(LAWS[law])]
    variance = VARIANCE if case in JOINT else 0 * VARIANCE
    together = expected_log_prob(kind(*two), predictor, family, value_of(family), TRIALS, MEAN, variance, index)
    apart = expected_log_prob(
        kind(*(parameter[index] for parameter in two)), predictor, family, value_of(family), TRIALS, MEAN, variance
    )
    torch.testing.assert_close(together, apart, rtol=1e-9, atol=1e-12)
    assert float(together[4].abs()) < 1e-12  # no trials, nothing said


@every_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_affinities_keep_values_and_gradients_finite(
    case: tuple[str, Predictor, Family], dtype: torch.dtype
) -> None:
    law, predictor, family = case
    mean = torch.tensor([-60.0, -25.0, 0.0, 25.0, 60.0], dtype=dtype).requires_grad_()
    one = torch.ones(5, dtype=dtype)
    found = [] if LAWS[law] is None else [p.to(dtype).requires_grad_() for p in parameters(LAWS[law])]
    of = None if LAWS[law] is None else type(LAWS[law])(*found)
    for value in (plausible(family, value, one) for value in (one, 0 * one)):
        got = expected_log_prob(of, predictor, family, value, one, mean, 0 * one)
        assert got.dtype == dtype
        assert bool(got.isfinite().all())
        slopes = torch.autograd.grad(got.sum(), [mean, *found], allow_unused=True, retain_graph=True)
        assert all(bool(slope.isfinite().all()) for slope in slopes if slope is not None)


@pytest.mark.parametrize("predictor", [Odds(), LogAdditive()], ids=lambda p: p.name)
def test_single_precision_agrees_with_double(predictor: Predictor) -> None:
    family = Bernoulli() if isinstance(predictor, Odds) else Family.registry["cloglog"].example()
    for name in ("gamma", "exponential", "lognormal", "weibull"):
        double = expected((name, predictor, family), MEAN, 0 * VARIANCE)
        kind, values = type(LAWS[name]), [p.float() for p in parameters(LAWS[name])]
        single = expected_log_prob(
            kind(*values), predictor, family, value_of(family).float(), TRIALS.float(), MEAN.float(), torch.zeros(5)
        )
        torch.testing.assert_close(single.double(), double, rtol=2e-5, atol=2e-5)


def test_a_law_without_a_rule_raises() -> None:
    law = dist.HalfCauchy(f64(1.0))
    assert not integrates_affinity(law, Odds(), Bernoulli())
    with pytest.raises(NotImplementedError, match="no quadrature rule for HalfCauchy: register one"):
        expected_log_prob(law, Odds(), Bernoulli(), value_of(Bernoulli()), TRIALS, MEAN, 0 * VARIANCE)


def test_plain_ignores_popularity() -> None:
    assert not integrates_affinity(LAWS["gamma"], Plain(), Bernoulli())
    assert integrates_affinity(None, Plain(), Bernoulli())
