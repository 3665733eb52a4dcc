"""Mutual information and divergence of posteriors whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from pyrorec.data import InputError
from pyrorec.inference.collapse import laws, mutual_information, side_table


def test_information_of_separated_rows_is_the_log_of_their_number() -> None:
    q = torch.distributions.Normal(torch.arange(8.0)[:, None] * 100, torch.ones(8, 1))
    assert mutual_information(q, 0).tolist() == pytest.approx([math.log(8)])


def test_information_of_equal_rows_is_nothing() -> None:
    q = torch.distributions.Normal(torch.zeros(9, 2), torch.ones(9, 2))
    assert mutual_information(q, 0).tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    table = side_table("user", q, torch.distributions.Normal(torch.zeros(9, 2), torch.ones(9, 2)), 0)
    assert not table["active"].any()
    assert not table["kl"].any()


def test_information_agrees_with_quadrature() -> None:
    """Two kinds of rows, half of them at each of -1 and 1 with sd 1: entropy of the mixture less that of a normal."""
    n = 2000
    q = torch.distributions.Normal(torch.tensor([-1.0, 1.0]).repeat(n // 2)[:, None], torch.ones(n, 1))

    def integrand(x: float) -> float:
        density = 0.5 * stats.norm.pdf(x, -1) + 0.5 * stats.norm.pdf(x, 1)
        return -density * np.log(density)

    exact = integrate.quad(integrand, -12, 12)[0] - stats.norm.entropy()
    assert float(mutual_information(q, 1)) == pytest.approx(exact, abs=4 * 0.6 / n**0.5)
    assert float(mutual_information(q, 1, together=True)) == pytest.approx(float(mutual_information(q, 1)))


def test_two_factors_that_say_the_same_say_it_once() -> None:
    mean = torch.randint(2, (400, 1)).float().repeat(1, 2) * 60
    q = torch.distributions.Normal(mean, torch.ones(400, 2))
    alone, joint = mutual_information(q, 0), mutual_information(q, 0, together=True)
    assert alone.tolist() == pytest.approx([math.log(2)] * 2, abs=0.01)
    assert float(joint) == pytest.approx(math.log(2), abs=0.01)


def test_divergence_of_a_factor_is_the_mean_over_rows() -> None:
    mean, sd = torch.tensor([[1.0], [-2.0]]), torch.tensor([[0.5], [0.25]])
    q, p = torch.distributions.Normal(mean, sd), torch.distributions.Normal(torch.zeros(2, 1), torch.ones(2, 1))
    by_hand = 0.5 * (sd**2 + mean**2 - 1 - (sd**2).log()).mean()
    table = side_table("item", q, p, 0)
    assert table["kl"].item() == pytest.approx(float(by_hand))
    assert table["mean_variance"].item() == pytest.approx(2.25)


def test_what_has_no_spread_is_refused() -> None:
    class NoModel:
        model = None

    with pytest.raises(InputError, match="bilateral"):
        laws(NoModel(), "user")  # type: ignore[arg-type]
