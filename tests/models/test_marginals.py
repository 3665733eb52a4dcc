"""Marginals over popularity against adaptive quadrature, golden values and identities."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import integrate, optimize, special, stats

from pyrorec.models import marginals
from pyrorec.models.distributions.gamma import match_gamma
from pyrorec.models.families import Bernoulli, Cloglog, Family, Gaussian, Poisson
from pyrorec.models.marginals import gamma_cloglog, logistic_normal, marginal_mean
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor

ETA = [-6.0, -1.5, 0.0, 0.7, 2.5]
EFFECT = 0.6
RESPONSE = {
    Poisson: np.exp,
    Bernoulli: special.expit,
    Cloglog: lambda eta: -np.expm1(-np.exp(eta)),
    Gaussian: lambda eta: eta,
}
TOLERANCE = {
    (dist.Normal, Additive, Cloglog): {"rel": 0, "abs": 1e-9},
    (dist.Normal, Additive, Bernoulli): {"rel": 0, "abs": 1e-12},
}


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


def by_quadrature(law: dist.TorchDistribution, predictor: type[Predictor], family: type[Family], eta: float) -> float:
    """E of the response over the law by scipy, popularity entering as the predictor says."""
    response = RESPONSE[family]
    if isinstance(law, dist.Gamma):
        a, b = float(law.concentration), float(law.rate)
        density = stats.gamma(a, scale=1 / b)
        # in t = log z, where the density has no singularity
        return integrate.quad(
            lambda t: response(eta + t) * density.pdf(np.exp(t)) * np.exp(t),
            -80,
            7,
            points=[-5.0, 0.0],
            limit=400,
            epsabs=1e-14,
            epsrel=1e-12,
        )[0]
    m, s = float(law.mean), float(law.stddev)
    return integrate.quad(
        lambda x: response(eta + EFFECT * (m + s * x)) * stats.norm.pdf(x),
        -12,
        12,
        limit=400,
        epsabs=1e-14,
        epsrel=1e-12,
    )[0]


def test_registered_combinations() -> None:
    """A new entry must come with its case below."""
    assert set(marginals._REGISTRY) == {
        *((dist.Gamma, LogAdditive, family) for family in (Poisson, Cloglog)),
        *((dist.Normal, Additive, family) for family in (Poisson, Cloglog, Bernoulli, Gaussian)),
    }


@pytest.mark.parametrize("key", list(marginals._REGISTRY), ids=lambda k: "-".join(c.__name__ for c in k))
@pytest.mark.parametrize("eta", ETA)
@pytest.mark.parametrize("parameters", [(0.5, 0.9), (1.0, 1.0), (6.0, 3.0)])
def test_marginals_match_quadrature(key: tuple[type, type, type], eta: float, parameters: tuple[float, float]) -> None:
    law_type, predictor, family = key
    law = law_type(f64(parameters[0]), f64(parameters[1]))
    used = Additive(popularity_effect=EFFECT) if predictor is Additive else LogAdditive()
    got = float(marginal_mean(law, used, family.example(), f64(eta)))
    expected = by_quadrature(law, predictor, family, eta)
    assert got == pytest.approx(expected, **TOLERANCE.get(key, {"rel": 1e-9}))


@pytest.mark.parametrize(("sd", "error"), [(1.0, 1e-13), (2.0, 1e-9), (3.0, 1e-6)])
def test_cloglog_normal_is_as_accurate_as_stated(sd: float, error: float) -> None:
    for eta in np.linspace(-12, 6, 19):
        law = dist.Normal(f64(0.0), f64(sd / EFFECT))
        got = float(marginal_mean(law, Additive(popularity_effect=EFFECT), Cloglog(), f64(eta)))
        assert got == pytest.approx(by_quadrature(law, Additive, Cloglog, eta), rel=0, abs=error)


def test_laws_broadcast_over_the_last_dimension() -> None:
    law = dist.Gamma(f64([1.0, 2.0, 5.0]), f64([1.0, 4.0, 0.5]))
    eta = torch.randn(2, 3).double()
    got = marginal_mean(law, LogAdditive(), Cloglog(), eta)
    expected = 1 - (1 + eta.exp() / law.rate) ** -law.concentration
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=0)
    one = marginal_mean(dist.Gamma(f64(2.0), f64(4.0)), LogAdditive(), Cloglog(), eta)
    torch.testing.assert_close(one[:, 1], expected[:, 1], rtol=1e-13, atol=0)


def test_no_popularity_and_known_popularity() -> None:
    eta = f64([-1.0, 0.5])
    torch.testing.assert_close(marginal_mean(None, Plain(), Poisson(), eta), eta.exp())
    at = marginal_mean(dist.Delta(f64([2.0, 3.0])), LogAdditive(), Poisson(), eta)
    torch.testing.assert_close(at, f64([2.0, 3.0]) * eta.exp())


def test_a_missing_combination_names_the_remedy() -> None:
    with pytest.raises(NotImplementedError, match=r"no marginal of Gamma popularity under additive.*SetPopularity"):
        marginal_mean(dist.Gamma(f64(1.0), f64(1.0)), Additive(), Bernoulli(), f64(0.0))


def golden(shared: Path, name: str) -> list[tuple[dict[str, float], float]]:
    entries = json.loads((shared / "golden" / "golden_public.json").read_text())["entries"]
    return [(e["params"], e["value"]) for e in entries if e["name"] == name]


def test_logistic_normal_golden_values(shared: Path) -> None:
    entries = golden(shared, "logistic_normal")
    mean, sd = f64([p["mu"] for p, _ in entries]), f64([p["s"] for p, _ in entries])
    np.testing.assert_allclose(logistic_normal(mean, sd), [v for _, v in entries], rtol=0, atol=1.5e-14)
    for p, v in entries:  # narrow and wide alone, not only mixed
        assert float(logistic_normal(f64(p["mu"]), f64(p["s"]))) == pytest.approx(v, rel=0, abs=1.5e-14)


def test_cloglog_gamma_golden_values(shared: Path) -> None:
    entries = golden(shared, "cloglog_gamma")
    assert entries
    for p, v in entries:
        law = dist.Gamma(f64(p["alpha"]), f64(p["beta"]))
        assert float(gamma_cloglog(law, LogAdditive(), Cloglog(), f64(p["a"]))) == pytest.approx(v, rel=1e-10)


MEANS = torch.linspace(-8, 8, 33, dtype=torch.float64)
by_sd = pytest.mark.parametrize("sd", [0.0, 0.05, 0.7, 1.49, 1.51, 3.0, 10.0])


@by_sd
def test_logistic_normal_is_symmetric_and_increasing(sd: float) -> None:
    value = logistic_normal(MEANS, f64(sd))
    np.testing.assert_allclose(value + logistic_normal(-MEANS, f64(sd)), 1.0, rtol=0, atol=2e-14)
    assert float(logistic_normal(f64(0.0), f64(sd))) == pytest.approx(0.5, rel=0, abs=1e-14)
    assert (value.diff() > 0).all()


@pytest.mark.parametrize("sd", [0.3, 1.0, 1.49, 1.51, 2.5])
def test_logistic_normal_reflection(sd: float) -> None:
    """L(-mu, s) = exp(-mu + s^2 / 2) L(mu - s^2, s): relates values on either side of the switch of rules."""
    mu = torch.linspace(-3, 6, 19, dtype=torch.float64)
    left = logistic_normal(-mu, f64(sd))
    factor = torch.exp(-mu + 0.5 * sd**2)
    right = factor * logistic_normal(mu - sd**2, f64(sd))
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-13 * max(1.0, float(factor.max())))


@pytest.mark.parametrize("sd", [0.4, 1.2, 2.0, 6.0])
def test_logistic_normal_derivatives(sd: float) -> None:
    """dL/d mu = E sigma', dL/d(s^2) = E sigma'' / 2."""
    mean, scale = f64([-2.0, 0.3, 1.7]).requires_grad_(), f64([sd] * 3).requires_grad_()
    by_mean, by_scale = torch.autograd.grad(logistic_normal(mean, scale).sum(), [mean, scale])
    x = torch.linspace(-60, 60, 120_001, dtype=torch.float64).numpy()
    up, down = special.expit(x), special.expit(-x)
    for i, m in enumerate(mean.tolist()):
        weight = stats.norm.pdf(x, m, sd) * (x[1] - x[0])
        assert float(by_mean[i]) == pytest.approx(weight @ (up * down), abs=1e-9)
        assert float(by_scale[i]) == pytest.approx(sd * (weight @ (up * down * (down - up))), abs=1e-9)


def test_the_two_rules_of_the_logistic_normal_meet() -> None:
    below, above = (logistic_normal(MEANS, f64(s)) for s in (1.5 - 1e-9, 1.5 + 1e-9))
    np.testing.assert_allclose(below, above, rtol=0, atol=1e-9)
    mixed = logistic_normal(f64([0.4, 0.4]), f64([1.0, 2.0]))
    apart = torch.stack([logistic_normal(f64(0.4), f64(s)) for s in (1.0, 2.0)])
    assert torch.equal(mixed, apart)


@pytest.mark.parametrize("shape", [1e-3, 0.05, 0.7, 1.0, 3.0, 40.0, 1e3, 1e5])
@pytest.mark.parametrize("mean", [1e-4, 1.0, 300.0])
def test_match_gamma_recovers_the_gamma(shape: float, mean: float) -> None:
    mean_log = special.digamma(shape) - np.log(shape / mean)
    got = match_gamma(f64(mean), f64(mean_log))
    gap = np.log(mean) - mean_log
    root = optimize.brentq(
        lambda t: t - special.digamma(np.exp(t)) - gap, np.log(shape) - 2, np.log(shape) + 2, xtol=1e-13
    )
    # the gap log E z - E log z, near 1 / (2 shape), carries the rounding of its two terms
    noise = 1e-13 * (1 + abs(np.log(mean))) / gap
    assert float(got.concentration) == pytest.approx(np.exp(root), rel=1e-9 + 10 * noise)
    assert float(got.concentration) == pytest.approx(shape, rel=1e-9 + 10 * noise)
    assert float(got.mean) == pytest.approx(mean, rel=1e-12)
