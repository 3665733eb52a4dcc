"""The rule of each law of popularity against another rule in pieces, closed forms and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F

from pyrorec.models import quadrature
from pyrorec.models.quadrature import average, double_rule, rule


def f64(x: object) -> torch.Tensor:
    return torch.as_tensor(x, dtype=torch.float64)


LAWS = [
    *(dist.Gamma(f64(a), f64(b)) for a, b in [(0.05, 3.0), (0.4, 0.02), (1.0, 1.0), (5.0, 0.7), (300.0, 150.0)]),
    *(dist.Weibull(f64(scale), f64(k)) for k, scale in [(0.05, 0.5), (0.5, 3.0), (1.3, 0.1), (6.0, 0.8)]),
    *(dist.LogNormal(f64(m), f64(s)) for m, s in [(0.5, 1e-3), (-2.0, 0.4), (0.3, 1.1), (-1.0, 4.0)]),
    *(dist.Normal(f64(m), f64(s)) for m, s in [(0.5, 1e-3), (0.3, 1.1), (-1.0, 4.0)]),
    dist.Exponential(f64(0.3)),
]
IDS = [f"{type(law).__name__}-{i}" for i, law in enumerate(LAWS)]
of_every_law = pytest.mark.parametrize("law", LAWS, ids=IDS)


def log_saturation(log_z: torch.Tensor) -> torch.Tensor:
    z = log_z.clamp_min(-30).exp()
    return torch.where(log_z < -30, log_z, torch.log(-torch.expm1(-z)))


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "one": torch.ones_like,
    "log sigma": lambda x: F.logsigmoid(x - 0.6),
    "sigma": lambda x: torch.sigmoid(2 - x),
    "softplus": lambda x: F.softplus(x + 5),
    "log saturation": log_saturation,
    "exp": torch.exp,
}


def log_density(law: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """log density of the variable of the nodes: log z, or zeta itself."""
    if isinstance(law, dist.Normal):
        return law.log_prob
    return lambda x: law.log_prob(x.exp()) + x


def ends(law: Any) -> tuple[float, float]:
    """An interval beyond which nothing is left, also of e^x times the density."""
    if isinstance(law, dist.Gamma):
        a, b = float(law.concentration), float(law.rate)
        return math.log(a / b) - 36 / min(a, 2), math.log((a + 40 + 9 * a**0.5) / b)
    if isinstance(law, dist.Weibull):
        k, scale = float(law.concentration), float(law.scale)
        return math.log(scale) - 36 / k, math.log(scale) + math.log(40 + 5 / k) / k
    if isinstance(law, dist.Exponential):
        return -34.0, 6.0
    return float(law.loc - 9 * law.scale), float(law.loc + (9 + law.scale) * law.scale)


def in_pieces(law: Any, f: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """E f by Gauss and Legendre's rule in pieces, so many that half of them would do."""
    low, high = ends(law)
    edges = np.linspace(max(low, -700.0), high, 2 + max(64, int((high - low) / 2)))
    nodes, weights = np.polynomial.legendre.leggauss(24)
    half, centre = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    x = f64(centre[:, None] + half[:, None] * nodes)
    return float(half @ (log_density(law)(x).exp() * f(x)).numpy() @ weights)


@of_every_law
@pytest.mark.parametrize("name", FUNCTIONS)
def test_averages_match_another_quadrature(law: Any, name: str) -> None:
    f = FUNCTIONS[name]
    assert float(average(law, f)) == pytest.approx(in_pieces(law, f), rel=5e-9, abs=0)


@pytest.mark.parametrize("shape", [0.05, 0.3, 1.0, 4.0, 50.0, 1e4])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_weights_sum_to_one_and_give_the_mean_at_any_scale(shape: float, scale: float) -> None:
    for law in (dist.Gamma(f64(shape), f64(1 / scale)), dist.Weibull(f64(scale), f64(shape))):
        log_z, log_weight = rule(law)
        assert float(log_weight.exp().sum()) == pytest.approx(1, abs=1e-9)
        assert float((log_weight + log_z).exp().sum()) == pytest.approx(float(law.mean), rel=2e-9)


@pytest.mark.parametrize("sd", [1e-4, 0.2, 1.0, 3.0, 10.0])
def test_normal_weights(sd: float) -> None:
    zeta, log_weight = rule(dist.Normal(f64(-0.7), f64(sd)))
    weight = log_weight.exp()
    assert float(weight.sum()) == pytest.approx(1, abs=1e-9)
    assert float((weight * zeta).sum()) == pytest.approx(-0.7, rel=1e-8)
    assert float((weight * (zeta + 0.7) ** 2).sum()) == pytest.approx(sd**2, rel=1e-8)


@pytest.mark.parametrize(
    ("law", "most"),
    [
        (dist.Gamma(f64(1.0), f64(1.0)), 80),
        (dist.Gamma(f64(0.05), f64(1.0)), 80),
        (dist.Gamma(f64(10.0), f64(1.0)), 30),
        (dist.Weibull(f64(1.0), f64(1.0)), 85),
        (dist.LogNormal(f64(0.0), f64(1.0)), 40),
        (dist.Normal(f64(0.0), f64(0.3)), 20),
    ],
)
def test_the_rule_stays_small(law: Any, most: int) -> None:
    assert len(rule(law).log_z) <= most


@of_every_law
def test_nodes_are_constants_and_weights_carry_the_gradient(law: Any) -> None:
    """The gradient of an average is that of central differences."""
    names = [name for name in law.arg_constraints if name in ("concentration", "rate", "scale", "loc")]
    values = [getattr(law, name).clone() for name in names]
    f = FUNCTIONS["log sigma"]

    def at(values: list[torch.Tensor]) -> torch.Tensor:
        return average(type(law)(**dict(zip(names, values, strict=True))), f)

    leaves = [v.clone().requires_grad_() for v in values]
    assert not rule(type(law)(**dict(zip(names, leaves, strict=True)))).log_z.requires_grad
    got = torch.autograd.grad(at(leaves), leaves)
    for i, (v, gradient) in enumerate(zip(values, got, strict=True)):
        step = 1e-4 * float(v.abs())
        far, near = (
            at([x + k * step if i == j else x for j, x in enumerate(values)])
            - at([x - k * step if i == j else x for j, x in enumerate(values)])
            for k in (2, 1)
        )
        wanted = float((8 * near - far) / (12 * step))
        noise = 1e-8 * float(at(values).abs()) / float(v.abs())
        assert float(gradient) == pytest.approx(wanted, rel=1e-6, abs=noise)


def test_batches_broadcast_and_keep_their_dtype() -> None:
    law = dist.Gamma(torch.tensor([0.3, 1.0, 40.0]), torch.tensor(2.0))
    log_z, log_weight = rule(law)
    assert log_z.shape == log_weight.shape == (len(log_z), 3)
    assert log_z.dtype == log_weight.dtype == torch.float32
    eta = torch.randn(5, 3)
    got = average(law, lambda x: torch.sigmoid(eta + x))
    assert got.shape == (5, 3)
    assert got.dtype == torch.float32
    alone = average(dist.Gamma(torch.tensor(1.0), torch.tensor(2.0)), lambda x: torch.sigmoid(eta + x))
    torch.testing.assert_close(got[:, 1], alone[:, 1])
    records = torch.tensor([2, 0, 0])
    by_record = average(law, lambda x: torch.sigmoid(eta[0, records] + x), records)
    torch.testing.assert_close(by_record, got[0, records])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_single_precision_takes_fewer_nodes_and_keeps_six_digits(name: str) -> None:
    for law in (dist.Gamma(f64(0.7), f64(2.0)), dist.Weibull(f64(2.0), f64(0.7)), dist.LogNormal(f64(0.4), f64(1.1))):
        names = [key for key in law.arg_constraints if key in ("concentration", "rate", "scale", "loc")]
        single = type(law)(**{key: getattr(law, key).float() for key in names})
        assert len(rule(single).log_z) < len(rule(law).log_z)
        assert float(average(single, FUNCTIONS[name])) == pytest.approx(float(average(law, FUNCTIONS[name])), rel=3e-6)


def test_a_law_without_a_rule_names_the_remedy_and_can_register_one() -> None:
    class Half(dist.HalfCauchy):
        """A law nobody knows."""

    with pytest.raises(NotImplementedError, match=r"no quadrature rule for Half.*double_rule\.register"):
        rule(Half(f64(1.0)))

    @double_rule.register(Half)
    def _(law: Half, drop: float) -> quadrature.Rule:
        return quadrature.Rule(law.scale.log().unsqueeze(0), torch.zeros(1, dtype=torch.float64))

    assert float(average(Half(f64(2.0)), torch.exp)) == pytest.approx(2.0)
