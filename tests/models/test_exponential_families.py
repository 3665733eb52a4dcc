"""The parts of every exponential family make its law, and its log-partition holds its moments (maths 1.1, 6.5)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import CELLWISE, plausible
from scipy import stats
from torch import Tensor

from pyrorec.models.families import (
    Beta,
    Binomial,
    ExponentialFamily,
    ExponentialResponse,
    Family,
    GammaResponse,
    Gaussian,
    GaussianKnown,
    GaussianPerItem,
    HurdleGamma,
    NegativeBinomial,
    Ordinal,
    Poisson,
    Sums,
)

FAMILIES: list[ExponentialFamily] = [
    *(cls.example() for cls in CELLWISE if issubclass(cls, ExponentialFamily) and not cls.learned),
    Beta(precision=6.0),
    GammaResponse(shape=1.7),
    Gaussian(sd=0.7),
    GaussianPerItem(sd=0.7),
    HurdleGamma(shape=1.7, odds=0.8, slope=1.3),
    NegativeBinomial(dispersion=0.8),
]
every = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
ETA = torch.tensor([-1.4, -0.3, 0.2, 0.9], dtype=torch.float64)
DRAWS = 40_000


def drawn(family: ExponentialFamily, seed: int = 0) -> Tensor:
    """Values of one trial at each eta, (draws, etas)."""
    torch.manual_seed(seed)
    return family.sample(ETA.expand(DRAWS, len(ETA)), torch.ones(()).double())


def gradient(family: ExponentialFamily, natural: Tensor) -> Tensor:
    return torch.autograd.functional.jacobian(family.log_partition, natural)


def hessian(family: ExponentialFamily, natural: Tensor) -> Tensor:
    return torch.autograd.functional.hessian(family.log_partition, natural)


def test_all_exponential_families_are_here() -> None:
    assert {type(f) for f in FAMILIES} == {cls for cls in CELLWISE if issubclass(cls, ExponentialFamily)}
    assert [cls for cls in CELLWISE if not issubclass(cls, ExponentialFamily)] == [Ordinal]
    assert "No exponential family" in str(Ordinal.__doc__)


@every
def test_the_parts_make_the_law(family: ExponentialFamily) -> None:
    """natural . phi - trials A + log h is the family's own log_prob, cells of several trials and of none included."""
    trials = torch.tensor([1.0, 1.0, 3.0, 2.0, 0.0]).double()
    eta = torch.tensor([-1.4, 0.2, 0.9, -0.3, 0.4]).double()
    value = plausible(family, torch.tensor([1.0, 0.0, 2.0, 1.0, 0.0]).double(), trials)
    whole = ExponentialFamily.log_prob(family, value, trials, eta)
    torch.testing.assert_close(whole, family.log_prob(value, trials, eta), rtol=1e-11, atol=1e-11)
    assert float(whole[-1]) == 0.0


@every
def test_the_base_measure_does_not_know_eta(family: ExponentialFamily) -> None:
    """Log-ratios of two values at two eta are natural . phi alone: h may not depend on eta (erratum A3)."""
    one = torch.ones(2).double()
    value = plausible(family, torch.tensor([1.0, 3.0]).double(), one)
    low, high = (family.log_prob(value, one, torch.full((2,), eta).double()) for eta in (-0.6, 0.5))
    phi, naturals = family.statistic(value, one), [family.natural(torch.tensor(eta).double()) for eta in (-0.6, 0.5)]
    expected = (phi[0] - phi[1]) @ (naturals[1] - naturals[0])
    assert float(((high - low)[0] - (high - low)[1]) - expected) == pytest.approx(0, abs=1e-10)


@every
def test_the_log_partition_has_the_moments_of_the_statistic(family: ExponentialFamily) -> None:
    """A' = E phi and A'' = Cov phi against draws, and A'' positive semi-definite."""
    statistic = family.statistic(drawn(family), torch.ones(()).double())
    for place, natural in enumerate(family.natural(ETA)):
        phi, slope, curvature = statistic[:, place], gradient(family, natural), hessian(family, natural)
        error = phi.std(0) / DRAWS**0.5
        assert ((phi.mean(0) - slope).abs() < 4.5 * error + 1e-12).all()
        apart = (phi - slope)[:, :, None] * (phi - slope)[:, None, :]
        error = apart.std(0) / DRAWS**0.5
        assert ((apart.mean(0) - curvature).abs() < 5 * error + 1e-12).all()
        values = torch.linalg.eigvalsh(curvature)
        assert float(values.min()) >= -1e-12 * float(values.max())


@every
def test_mean_and_variance_are_derivatives_of_the_log_partition(family: ExponentialFamily) -> None:
    if family.value_component is None:
        pytest.skip("no statistic of this family is the value itself; its moments are compared with draws")
    at = family.value_component
    for eta in ETA:
        natural = family.natural(eta)
        assert float(gradient(family, natural)[at]) == pytest.approx(float(family.mean(eta)), rel=1e-10, abs=1e-12)
        assert float(hessian(family, natural)[at, at]) == pytest.approx(float(family.variance(eta)), rel=1e-9)


@every
def test_mean_and_variance_are_those_of_draws(family: ExponentialFamily) -> None:
    value = drawn(family, seed=1)
    assert ((value.mean(0) - family.mean(ETA)).abs() < 4.5 * value.std(0) / DRAWS**0.5).all()
    apart = (value - family.mean(ETA)) ** 2
    assert ((apart.mean(0) - family.variance(ETA)).abs() < 5 * apart.std(0) / DRAWS**0.5).all()


@every
def test_both_links_are_stated(family: ExponentialFamily) -> None:
    assert family.canonical_link
    assert family.practical_link


@every
def test_the_maximum_of_the_likelihood_beats_its_neighbours(family: ExponentialFamily) -> None:
    """It depends on the log through the sums alone, and no step of eta or of a parameter that it fits improves it."""
    value = drawn(family, seed=2)[:400, 1]
    ones = torch.ones_like(value)
    fitted, eta = family.maximum_likelihood(family.sums(value, ones))

    def likelihood(of: Family, at: float) -> float:
        return float(of.log_prob(value, ones, torch.full_like(value, at)).sum())

    best = likelihood(fitted, eta)
    for step in (-0.02, 0.02):
        assert likelihood(fitted, eta + step) < best
        for name in ESTIMATED.get(type(family), ()):
            moved = type(fitted)(**{n: getattr(fitted, n) * (1 + step * (n == name)) for n in fitted.learned})
            assert likelihood(moved, eta) < best


ESTIMATED: dict[type, tuple[str, ...]] = {
    Gaussian: ("sd",),
    GaussianPerItem: ("sd",),
    GammaResponse: ("shape",),
    Beta: ("precision",),
    HurdleGamma: ("shape", "odds"),
}
"""Learned fields that are natural parameters, and so are estimated from the sums."""


def test_maximum_likelihood_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    amount, part = rng.gamma(2.3, 1.4, 800), rng.beta(2.0, 5.0, 800)
    ones = torch.ones(800).double()
    gamma, eta = GammaResponse().maximum_likelihood(GammaResponse().sums(torch.as_tensor(amount), ones))
    shape, _, scale = stats.gamma.fit(amount, floc=0)
    assert float(gamma.shape) == pytest.approx(shape, rel=1e-5)  # type: ignore[attr-defined]
    assert math.exp(eta) == pytest.approx(shape * scale, rel=1e-6)
    beta, eta = Beta().maximum_likelihood(Beta().sums(torch.as_tensor(part), ones))
    a, b, _, _ = stats.beta.fit(part, floc=0, fscale=1)
    assert float(beta.precision) == pytest.approx(a + b, rel=1e-4)  # type: ignore[attr-defined]
    assert eta == pytest.approx(math.log(a / b), rel=1e-4)


@every
def test_sums_of_two_logs_are_those_of_both(family: ExponentialFamily) -> None:
    """What online learning keeps: exact for counts, to rounding for reals."""
    value, trials = drawn(family, seed=4)[:60, 0], torch.ones(60).double()
    first, second = family.sums(value[:23], trials[:23]), family.sums(value[23:], trials[23:])
    whole, merged = family.sums(value, trials), first + second
    assert merged.trials == whole.trials == 60
    if family.support.is_discrete:
        assert merged == whole
    np.testing.assert_allclose(merged.statistic, whole.statistic, rtol=1e-12)
    assert family.sums(value, trials).statistic == pytest.approx(
        tuple(float(x) for x in family.statistic(value, trials).sum(0))
    )


def test_sums_that_do_not_go_together_and_empty_ones_are_refused() -> None:
    with pytest.raises(ValueError, match="different families"):
        Sums(1.0, (1.0,)) + Sums(1.0, (1.0, 2.0))
    with pytest.raises(ValueError, match="add the sums of some cells"):
        Poisson().maximum_likelihood(Sums(0.0, (0.0,)))


def test_the_gaussian_of_two_parameters_is_that_of_maths() -> None:
    """Erratum A3: at mean 1.3 and sd .7, dA / d eta2 = E x^2 = 2.18, determinant of the Hessian .2353."""
    natural = Gaussian(sd=0.7).natural(torch.tensor(1.3).double())
    assert gradient(Gaussian(), natural).tolist() == pytest.approx([1.3, 2.18])
    assert float(torch.linalg.det(hessian(Gaussian(), natural))) == pytest.approx(0.2353, abs=5e-5)
    known = GaussianKnown(sd=0.7)
    assert float(known.log_partition(known.natural(torch.tensor(1.3).double()))) == pytest.approx(1.3**2 / (2 * 0.49))


def test_the_exponential_is_the_gamma_of_shape_one() -> None:
    value, one = torch.tensor([0.1, 1.0, 4.0]).double(), torch.ones(3).double()
    eta = torch.tensor([0.3, -1.0, 2.0]).double()
    exponential = ExponentialResponse().log_prob(value, one, eta)
    torch.testing.assert_close(exponential, GammaResponse(shape=1.0).log_prob(value, one, eta))


def test_the_negative_binomial_tends_to_the_poisson() -> None:
    value, one, eta = torch.arange(6.0).double(), torch.ones(6).double(), torch.full((6,), 0.4).double()
    near = NegativeBinomial(dispersion=1e7).log_prob(value, one, eta)
    torch.testing.assert_close(near, Poisson().log_prob(value, one, eta), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cls", CELLWISE, ids=lambda c: c.name)
@pytest.mark.parametrize("sd", [0.05, 0.8, 2.0])
def test_the_predictive_density_equals_a_fine_sum(cls: type[Family], sd: float) -> None:
    """log E p(value) over a normal eta, also where the likelihood is much narrower than the normal law."""
    family, one = cls.example(), torch.ones(3).double()
    counts = torch.tensor([0.0, 1.0, 900.0 if cls in (Poisson, NegativeBinomial) else 1.0]).double()
    value = plausible(family, counts, one)
    mean = torch.tensor([-0.4, 0.6, 6.0 if cls in (Poisson, NegativeBinomial) else -1.0]).double()
    got = family.predictive_log_prob(value, one, mean, torch.full((3,), sd**2, dtype=torch.float64))
    eta = mean[:, None] + sd * torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    likelihood = family.log_prob(value[:, None], one[:, None], eta)
    step = 40 / 400_000
    by_sum = torch.logsumexp(likelihood - 0.5 * ((eta - mean[:, None]) / sd) ** 2, -1) + math.log(step)
    torch.testing.assert_close(got, by_sum - 0.5 * math.log(2 * math.pi), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("family", "bad", "remedy"),
    [
        (Poisson(), 1.5, "use family gaussian"),
        (Binomial(), 6.0, "give the size"),
        (NegativeBinomial(), -1.0, "use family gaussian"),
        (GammaResponse(), 0.0, "family hurdle-gamma"),
        (ExponentialResponse(), -2.0, "family hurdle-gamma"),
        (HurdleGamma(), -2.0, "use family gaussian"),
        (Beta(), 1.0, "move such values inside"),
        (Ordinal(), 6.0, "give levels"),
        (Ordinal(), 2.5, "by doubling"),
    ],
    ids=lambda x: getattr(x, "name", None),
)
def test_values_that_are_not_the_familys_are_refused_with_the_remedy(family: Family, bad: float, remedy: str) -> None:
    good = 0.5 if isinstance(family, Beta) else 1.0
    value, trials = torch.tensor([good, bad]).double(), torch.ones(2).double()
    reason = family.refusal(value, trials)
    assert reason is not None
    assert remedy in reason
    assert f"{bad:g}" in reason or "holds others" in reason
    assert family.refusal(value[:1], trials[:1]) is None


def test_shares_that_single_precision_rounds_to_one_keep_a_density() -> None:
    value, one = torch.tensor([1 - 1e-12, 1e-300], dtype=torch.float64).float(), torch.ones(2)
    assert value.tolist() == [1.0, 0.0]
    assert bool(Beta().log_prob(value, one, torch.zeros(2)).isfinite().all())
    assert bool(GammaResponse().log_prob(value, one, torch.zeros(2)).isfinite().all())
