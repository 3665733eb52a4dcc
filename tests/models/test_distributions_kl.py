"""Every closed-form KL against quadrature, draws, identities and finite differences; refusals."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import special, stats
from torch.distributions.kl import _KL_REGISTRY, register_kl

from pyrorec.models import quadrature
from pyrorec.models.distributions import InverseGaussian
from pyrorec.models.distributions.divergence import InfiniteDivergence, check_finite_kl, closed_form_kl

PARAMETERS: dict[type, list[tuple[float, float]] | list[tuple[float]]] = {
    dist.Gamma: [(0.4, 0.7), (3.0, 1.5), (60.0, 40.0)],
    dist.Exponential: [(0.3,), (2.5,)],
    dist.LogNormal: [(-0.5, 0.2), (0.6, 1.1)],
    dist.Weibull: [(0.8, 0.7), (2.0, 3.0)],
    InverseGaussian: [(0.7, 0.4), (1.5, 30.0)],
    dist.Normal: [(0.3, 0.1), (-1.0, 2.0)],
}
POSITIVE = (dist.Gamma, dist.Exponential, dist.LogNormal, dist.Weibull)
PAIRS: list[tuple[type, type]] = [
    *itertools.product(POSITIVE, POSITIVE),
    *((InverseGaussian, p) for p in (InverseGaussian, dist.Gamma, dist.Exponential)),
    (dist.Normal, dist.Normal),
]
CASES = [(q, x, p, y) for q, p in PAIRS for x in PARAMETERS[q] for y in PARAMETERS[p]]
by_pair = pytest.mark.parametrize(("q", "p"), PAIRS, ids=lambda c: c.__name__)
EXTREMES: dict[type, list[tuple[float, ...]]] = {
    dist.Gamma: list(itertools.product((1e-3, 0.3, 8.0, 1e5), (1e-6, 1.0, 1e6))),
    dist.Exponential: [(1e-6,), (1.0,), (1e6,)],
    dist.LogNormal: list(itertools.product((-5.0, 5.0), (1e-4, 1.0, 10.0))),
    dist.Weibull: list(itertools.product((1e-6, 1.0, 1e6), (0.05, 1.0, 20.0))),
    InverseGaussian: list(itertools.product((1e-6, 1.0, 1e6), (1e-3, 1.0, 1e5))),
    dist.Normal: list(itertools.product((-5.0, 5.0), (1e-4, 1.0, 10.0))),
}


NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


def law(kind: Any, parameters: Any, dtype: torch.dtype = torch.float64) -> Any:
    return kind(*(torch.as_tensor(x, dtype=dtype) for x in parameters))


def by_scipy(kind: type, x: Any) -> Any:
    """The same law by scipy, whose densities are its own."""
    return {
        dist.Gamma: lambda: stats.gamma(x[0], scale=1 / x[1]),
        dist.Exponential: lambda: stats.expon(scale=1 / x[0]),
        dist.LogNormal: lambda: stats.lognorm(x[1], scale=np.exp(x[0])),
        dist.Weibull: lambda: stats.weibull_min(x[1], scale=x[0]),
        InverseGaussian: lambda: stats.invgauss(x[0] / x[1], scale=x[1]),
        dist.Normal: lambda: stats.norm(x[0], x[1]),
    }[kind]()


def by_quadrature(q: Any, p: Any, positive: bool) -> float:
    """The KL's integral, in log z where z > 0, from far quantiles at twice their distance from the median.

    By Gauss and Legendre's rule in 200 pieces, of which a quarter would do.
    """
    to, back = (np.log, np.exp) if positive else (lambda z: z, lambda t: t)
    middle = to(q.median())
    ends = [middle + 2.2 * (to(far) - middle) for far in (q.ppf(1e-14), q.isf(1e-14))]

    def integrand(t: np.ndarray) -> np.ndarray:
        z = back(t)
        return np.exp(q.logpdf(z) + positive * t) * (q.logpdf(z) - p.logpdf(z))

    edges = np.concatenate([np.linspace(ends[0], middle, 101)[:-1], np.linspace(middle, ends[1], 101)])
    half, centre = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return float((integrand(centre[:, None] + half[:, None] * NODES) @ WEIGHTS) @ half)


@pytest.mark.parametrize(("q", "x", "p", "y"), CASES, ids=[f"{q.__name__}{x}-{p.__name__}{y}" for q, x, p, y in CASES])
def test_matches_quadrature(q: type, x: Any, p: type, y: Any) -> None:
    got = float(closed_form_kl(law(q, x), law(p, y)))
    expected = by_quadrature(by_scipy(q, x), by_scipy(p, y), q is not dist.Normal)
    assert got == pytest.approx(expected, rel=1e-8, abs=1e-11)


@by_pair
def test_agrees_with_draws(q: type, p: type) -> None:
    ours, theirs = law(q, PARAMETERS[q][-1]), law(p, PARAMETERS[p][0])
    z = ours.sample((20_000,))
    terms = ours.log_prob(z) - theirs.log_prob(z)
    error = float(terms.std()) / len(terms) ** 0.5
    assert abs(float(closed_form_kl(ours, theirs)) - float(terms.mean())) < 4 * error + 1e-12


def test_every_registered_pair_has_its_case() -> None:
    """Registrations of this house, not torch's."""
    ours = {pair for pair, function in _KL_REGISTRY.items() if function.__module__.startswith("pyrorec.models.")}
    assert ours - {(InverseGaussian, p) for p in BY_RULE} == set(PAIRS)  # those are by the law's rule, tested below


BY_RULE: dict[type, list[tuple[float, float]]] = {
    dist.LogNormal: [(0.3, 0.8)],
    dist.Weibull: [(0.8, 0.7), (2.0, 3.0), (1.5, 5.0)],
}


@pytest.mark.parametrize("x", PARAMETERS[InverseGaussian])
@pytest.mark.parametrize(("p", "y"), [(p, y) for p, parameters in BY_RULE.items() for y in parameters])
def test_inverse_gaussian_by_its_rule(x: Any, p: type, y: Any) -> None:
    expected = by_quadrature(by_scipy(InverseGaussian, x), by_scipy(p, y), True)
    assert quadrature.rule  # whose module registers the pairs
    assert float(closed_form_kl(law(InverseGaussian, x), law(p, y))) == pytest.approx(expected, rel=1e-6)


def test_what_torch_registered_for_its_own_classes_stays() -> None:
    for kind in ("Gamma", "Exponential", "Normal"):
        plain = getattr(torch.distributions, kind)
        assert _KL_REGISTRY[plain, plain].__module__ == "torch.distributions.kl"


@by_pair
def test_slopes_match_differences(q: type, p: type) -> None:
    x = torch.tensor([*PARAMETERS[q][0], *PARAMETERS[p][-1]], dtype=torch.float64, requires_grad=True)
    n = len(PARAMETERS[q][0])

    def value(v: torch.Tensor) -> torch.Tensor:
        return closed_form_kl(law(q, v[:n].unbind()), law(p, v[n:].unbind()))

    (slope,) = torch.autograd.grad(value(x), x)
    for i, at in enumerate(x.detach()):
        h = torch.zeros_like(x)
        h[i] = 1e-5 * at.abs()
        with torch.no_grad():
            difference = (value(x + h) - value(x - h)) / (2 * h[i])
        assert float(slope[i]) == pytest.approx(float(difference), rel=1e-6, abs=1e-7)


@by_pair
def test_values_and_slopes_at_extremes(q: type, p: type) -> None:
    """Never negative, and finite wherever the divergence itself is a float."""
    for x, y in itertools.product(EXTREMES[q], EXTREMES[p]):
        leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (*x, *y)]
        value = closed_form_kl(q(*leaves[: len(x)]), p(*leaves[len(x) :]))
        slopes = torch.autograd.grad(value, leaves)
        assert float(value.detach()) >= 0, (x, y)
        if float(value.detach()) < 1e250:
            assert all(bool(s.isfinite()) for s in slopes), (x, y, slopes)


@by_pair
def test_single_precision_loses_nothing(q: type, p: type) -> None:
    for x, y in itertools.product(PARAMETERS[q], PARAMETERS[p]):
        single = closed_form_kl(law(q, x, torch.float32), law(p, y, torch.float32))
        double = closed_form_kl(
            law(q, np.float32(x), torch.float64),
            law(p, np.float32(y), torch.float64),
        )
        assert single.dtype == torch.float32
        assert float(single) == pytest.approx(float(double), rel=1e-6)


@pytest.mark.parametrize("kind", [*POSITIVE, InverseGaussian, dist.Normal], ids=lambda c: c.__name__)
def test_a_law_diverges_nothing_from_itself(kind: type) -> None:
    for x in EXTREMES[kind]:
        one = law(kind, x)
        assert abs(float(closed_form_kl(one, law(kind, x)))) < 1e-14


@pytest.mark.parametrize("a", [1e-3, 0.5, 7.9, 8.1, 40.0, 1e5])
@pytest.mark.parametrize("step", [1e-6, 1e-4])
def test_gamma_near_equality_is_half_its_information(a: float, step: float) -> None:
    """KL = (1/2) step^2 I + O(step^3), with I the information on the log shape at a fixed mean, or on the log rate."""
    ours = law(dist.Gamma, (a, 2 * a))
    shape = closed_form_kl(ours, law(dist.Gamma, (a * (1 + step), 2 * a * (1 + step))))
    information = a**2 * special.zeta(2, a) - a
    assert float(shape) == pytest.approx(0.5 * step**2 * information, rel=3 * step + 1e-8)
    rate = closed_form_kl(ours, law(dist.Gamma, (a, 2 * a * (1 + step))))
    assert float(rate) == pytest.approx(0.5 * step**2 * a, rel=3 * step + 1e-8)


def test_the_same_law_in_two_families() -> None:
    """Exponential(r), Gamma(1, r) and Weibull(scale 1/r, shape 1) are one law."""
    same = [law(dist.Exponential, (0.4,)), law(dist.Gamma, (1.0, 0.4)), law(dist.Weibull, (2.5, 1.0))]
    for others in (dist.Gamma, dist.LogNormal, dist.Weibull, dist.Exponential):
        for y in PARAMETERS[others]:
            other = law(others, y)
            forward = [float(closed_form_kl(one, other)) for one in same]
            backward = [float(closed_form_kl(other, one)) for one in same]
            assert forward == pytest.approx([forward[0]] * 3, rel=1e-12)
            assert backward == pytest.approx([backward[0]] * 3, rel=1e-12)


def test_a_power_of_both_changes_nothing() -> None:
    """z -> z^3 maps LogNormal and Weibull laws into their families."""
    one, other = law(dist.LogNormal, (0.2, 0.5)), law(dist.Weibull, (1.3, 1.7))
    powered = law(dist.LogNormal, (0.6, 1.5)), law(dist.Weibull, (1.3**3, 1.7 / 3))
    assert float(closed_form_kl(one, other)) == pytest.approx(float(closed_form_kl(*powered)), rel=1e-12)
    assert float(closed_form_kl(other, one)) == pytest.approx(float(closed_form_kl(*powered[::-1])), rel=1e-12)


def test_large_gammas_against_their_normal_limit() -> None:
    """KL of shapes a, a (1 + e) and one mean tends to (1/2) phi1(1 + e); textbook terms of 1e6 would leave no digit."""
    a, e = 1e5, 0.03
    got = closed_form_kl(law(dist.Gamma, (a, a)), law(dist.Gamma, (a * (1 + e), a * (1 + e))))
    assert float(got) == pytest.approx(0.5 * (e - np.log1p(e)), rel=1e-5)


def test_batches_broadcast() -> None:
    q = dist.Gamma(torch.rand(4, 1).double() + 0.5, torch.rand(3).double() + 0.5)
    p = law(dist.LogNormal, (0.0, 1.0))
    got = closed_form_kl(q, p)
    assert got.shape == (4, 3)
    one = closed_form_kl(law(dist.Gamma, (q.concentration[2, 0], q.rate[0, 1])), p)
    assert float(got[2, 1]) == pytest.approx(float(one), rel=1e-14)
    assert float(closed_form_kl(q.to_event(1), p.expand((3,)).to_event(1))[2]) == pytest.approx(float(got[2].sum()))


REAL = [
    dist.Normal(0.0, 1.0),
    dist.StudentT(3.0),
    dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1),
    dist.Normal,
]


@pytest.mark.parametrize("p", [*POSITIVE, InverseGaussian], ids=lambda c: c.__name__)
@pytest.mark.parametrize("q", REAL, ids=str)
def test_the_real_line_against_a_positive_prior_is_refused(q: Any, p: type) -> None:
    with pytest.raises(InfiniteDivergence, match=r"reaches where .* has no mass: take a positive posterior"):
        check_finite_kl(q, law(p, PARAMETERS[p][0]))
    with pytest.raises(InfiniteDivergence):
        check_finite_kl(q, p)
    if not isinstance(q, type):
        with pytest.raises(InfiniteDivergence):
            closed_form_kl(q, law(p, PARAMETERS[p][0]))


def test_other_supports() -> None:
    with pytest.raises(InfiniteDivergence, match="Gamma reaches where Uniform"):
        closed_form_kl(dist.Gamma(1.0, 1.0), dist.Uniform(0.0, 5.0))
    with pytest.raises(InfiniteDivergence):
        closed_form_kl(dist.Uniform(-1.0, 5.0), dist.Gamma(1.0, 1.0))
    check_finite_kl(dist.Uniform(0.0, 5.0), dist.Gamma(1.0, 1.0))
    check_finite_kl(dist.Gamma, dist.Normal)
    check_finite_kl(dist.Poisson(1.0), dist.Gamma(1.0, 1.0))
    check_finite_kl(dist.Delta, dist.Gamma)
    at = torch.tensor(0.7)
    point = closed_form_kl(dist.Delta(at), dist.Gamma(2.0, 1.0))
    torch.testing.assert_close(point, -dist.Gamma(2.0, 1.0).log_prob(at))


@pytest.mark.parametrize(
    ("q", "p"),
    [(dist.Gamma, InverseGaussian), (dist.Weibull, InverseGaussian)],
    ids=lambda c: c.__name__,
)
def test_a_pair_without_closed_form_names_the_remedies(q: type, p: type) -> None:
    with pytest.raises(NotImplementedError, match=r"Monte Carlo objective.*register_kl"):
        closed_form_kl(law(q, PARAMETERS[q][0]), law(p, PARAMETERS[p][0]))


def test_a_registered_pair_is_found() -> None:
    class Mine(dist.LogNormal):  # type: ignore[misc]
        pass

    register_kl(Mine, InverseGaussian)(lambda q, p: q.loc + 41)
    try:
        assert float(closed_form_kl(Mine(1.0, 1.0), InverseGaussian(1.0, 1.0))) == 42
    finally:
        del _KL_REGISTRY[Mine, InverseGaussian]


def test_inverse_gaussian_as_a_law() -> None:
    one = law(InverseGaussian, (1.5, 0.8))
    z = torch.tensor([1e-2, 0.3, 1.5, 40.0], dtype=torch.float64)
    expected = by_scipy(InverseGaussian, (1.5, 0.8))
    np.testing.assert_allclose(one.log_prob(z), expected.logpdf(z), rtol=1e-12)
    assert (float(one.mean), float(one.variance)) == pytest.approx((expected.mean(), expected.var()))
    batch = InverseGaussian(torch.ones(2), torch.tensor(3.0)).expand((5, 2))
    assert batch.sample((7,)).shape == (7, 5, 2)
    assert batch.log_prob(torch.ones(5, 2)).shape == (5, 2)
    assert not batch.has_rsample
    with pytest.raises(ValueError):
        InverseGaussian(-1.0, 1.0, validate_args=True)
    with pytest.raises(ValueError):
        InverseGaussian(1.0, 1.0, validate_args=True).log_prob(torch.tensor(-1.0))


@pytest.mark.parametrize("parameters", [(1.5, 0.8), (1.0, 50.0), (20.0, 0.5)])
def test_inverse_gaussian_draws_follow_the_law(parameters: tuple[float, float]) -> None:
    z = law(InverseGaussian, parameters).sample((20_000,)).numpy()
    assert stats.kstest(z, by_scipy(InverseGaussian, parameters).cdf).pvalue > 1e-4
    single = law(InverseGaussian, (1e3, 1e-2), torch.float32).sample((20_000,))
    assert bool((single > 0).all())
    assert bool(single.isfinite().all())
