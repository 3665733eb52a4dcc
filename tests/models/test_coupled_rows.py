"""Rows of multinomial counts and Dirichlet shares against torch's distributions, cell by cell."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Dirichlet as TorchDirichlet
from torch.distributions import Multinomial as TorchMultinomial

from pyrorec.models.absent import Absent
from pyrorec.models.bilateral import Batch, Bilateral, BilateralModel, UnfitPair
from pyrorec.models.families import Dirichlet, Family, Multinomial, Poisson
from pyrorec.models.families.exponential_family import solve_mean
from pyrorec.models.predictors import Plain
from pyrorec.models.rows import COUPLED, CoupledRows, DirichletRows, MultinomialRows, SparseRows

STORED = torch.tensor([[1, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]]).bool()
MASKED = torch.zeros_like(STORED)
MASKED[0, 3] = MASKED[1, 1] = True
COUNTS = torch.tensor([[3, 0, 0, 2, 0, 1], [0, 4, 1, 0, 2, 0], [0] * 6, [0, 5, 0, 0, 0, 0]]).double() * ~MASKED
SHARES = (
    torch.tensor([[0.3, 1.1, 0, 2, 0, 0.6], [0, 4, 0.4, 0.9, 1.2, 0], [0] * 6, [0, 5, 0, 0, 0, 0]]).double() * ~MASKED
)


def sparse(values: Tensor) -> SparseRows:
    row, column = STORED.nonzero(as_tuple=True)
    return SparseRows.from_cells(row, column, values[STORED], (~MASKED)[STORED].double(), tuple(STORED.shape))  # type: ignore[arg-type]


def factors(seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(4, 3, generator=g).double(), torch.randn(6, 3, generator=g).double()


def by_torch(law: type[CoupledRows], left: Tensor, right: Tensor, weight: float) -> Tensor:
    """Each row by torch's distribution over the cells that it is a draw over."""
    eta, out = left @ right.T, []
    for u in range(4):
        said = STORED[u] & ~MASKED[u] if not weight else ~MASKED[u]
        if law is MultinomialRows:
            value = COUNTS[u, said]
            n = int(value.sum())
            out.append(TorchMultinomial(n, logits=eta[u, said]).log_prob(value) if n else 0 * eta.sum())
        else:
            share = SHARES[u, said] / SHARES[u, said].sum()
            out.append(TorchDirichlet(eta[u, said].exp()).log_prob(share) if len(share) > 1 else 0 * eta.sum())
    return torch.stack(out)


CASES = [(MultinomialRows, Multinomial(), COUNTS, 1.0), (MultinomialRows, Multinomial(), COUNTS, 0.0)]
CASES += [(DirichletRows, Dirichlet(), SHARES, 0.0)]  # type: ignore[list-item]
every_case = pytest.mark.parametrize(("law", "family", "values", "weight"), CASES, ids=lambda x: getattr(x, "name", ""))


def test_every_coupled_family_has_a_law() -> None:
    assert set(COUPLED) == {cls for cls in Family.registry if cls.coupled}


@every_case
def test_log_prob_is_that_of_torch(law: type[CoupledRows], family: Family, values: Tensor, weight: float) -> None:
    """Masked and absent cells, an empty row and a row of one cell among them."""
    left, right = factors()
    got = law(family, left, right, weight).log_prob(sparse(values))
    torch.testing.assert_close(got, by_torch(law, left, right, weight), rtol=1e-11, atol=1e-11)


@every_case
def test_gradients_are_those_of_torch(law: type[CoupledRows], family: Family, values: Tensor, weight: float) -> None:
    left, right = factors(1)
    mine, theirs = [[x.clone().requires_grad_() for x in (left, right)] for _ in range(2)]
    law(family, *mine, weight).log_prob(sparse(values)).sum().backward()
    by_torch(law, *theirs, weight).sum().backward()
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9)


@every_case
def test_the_family_gives_the_same_for_dense_rows(
    law: type[CoupledRows], family: Family, values: Tensor, weight: float
) -> None:
    left, right = factors(2)
    dense = 1.0 + torch.arange(24).double().reshape(4, 6) % 5
    if law is DirichletRows:
        dense = dense / dense.sum(-1, keepdim=True)
    trials = dense.sum(-1)
    expected = family.log_prob(dense, trials if law is MultinomialRows else torch.ones(4).double(), left @ right.T)
    torch.testing.assert_close(law(family, left, right, weight).log_prob(dense), expected)


def test_a_row_offset_changes_no_multinomial() -> None:
    left, right = factors(3)
    plain = MultinomialRows(Multinomial(), left, right, 1.0).log_prob(sparse(COUNTS))
    wide = torch.cat([left, torch.tensor([[7.0], [-3.0], [200.0], [900.0]]).double()], 1)
    shifted = MultinomialRows(Multinomial(), wide, torch.cat([right, torch.ones(6, 1).double()], 1), 1.0)
    torch.testing.assert_close(shifted.log_prob(sparse(COUNTS)), plain, rtol=1e-9, atol=1e-9)


def test_poisson_counts_given_their_total_are_multinomial() -> None:
    """sum log Poisson(y) - log Poisson(n; total rate) is the multinomial's log-probability."""
    left, right = factors(4)
    eta, value, one = left @ right.T, COUNTS + 1.0, torch.ones(()).double()
    apart = Poisson().log_prob(value, one, eta).sum(-1)
    total = Poisson().log_prob(value.sum(-1), one, torch.logsumexp(eta, -1))
    torch.testing.assert_close(MultinomialRows(Multinomial(), left, right, 1.0).log_prob(value), apart - total)


@pytest.mark.parametrize("family", [Multinomial(), Dirichlet()], ids=lambda f: f.name)
def test_the_log_partition_holds_the_moments_of_a_row(family: Multinomial | Dirichlet) -> None:
    """A' = E phi, A'' = Cov phi, positive semi-definite; flat along the ones for the multinomial (erratum A2)."""
    eta = torch.tensor([0.3, -0.8, 1.1]).double()
    natural = family.natural(eta)
    torch.manual_seed(0)
    phi = family.statistic(family.sample(eta.expand(30_000, 3), torch.ones(30_000).double()), torch.ones(()))
    slope = torch.autograd.functional.jacobian(family.log_partition, natural)
    curvature = torch.autograd.functional.hessian(family.log_partition, natural)
    assert ((phi.mean(0) - slope).abs() < 4.5 * phi.std(0) / 30_000**0.5).all()
    apart = (phi - slope)[:, :, None] * (phi - slope)[:, None, :]
    assert ((apart.mean(0) - curvature).abs() < 5 * apart.std(0) / 30_000**0.5).all()
    values = torch.linalg.eigvalsh(curvature)
    assert float(values[0]) > -1e-12
    assert (abs(float(values[0])) < 1e-12) == isinstance(family, Multinomial)


def test_dirichlet_concentrations_come_back_from_the_sums() -> None:
    a = torch.tensor([0.7, 2.0, 4.0]).double()
    torch.manual_seed(1)
    shares = Dirichlet().sample(a.log().expand(6000, 3), torch.ones(6000).double())
    halves = [Dirichlet().sums(part, torch.ones(3000).double()) for part in shares.split(3000)]
    found = solve_mean(Dirichlet().log_partition, (halves[0] + halves[1]).mean, torch.ones(3))
    torch.testing.assert_close(found, a, rtol=0.06, atol=0)


@pytest.mark.parametrize("law", [MultinomialRows, DirichletRows], ids=lambda c: c.__name__)
def test_draws_have_the_expected_shares(law: type[CoupledRows]) -> None:
    left, right = factors(5, 0.5)
    family: Family = Multinomial() if law is MultinomialRows else Dirichlet()
    totals = torch.tensor([3.0, 1.0, 0.0, 6.0]).double()
    torch.manual_seed(2)
    draws = law(family, left, right, 0.0).with_totals(totals).sample((4000,))
    eta = left @ right.T
    share = torch.softmax(eta, -1)
    assert draws.shape == (4000, 4, 6)
    torch.testing.assert_close(draws.sum(-1), totals.expand(4000, 4), rtol=1e-6, atol=1e-6)
    error = draws.std(0) / 4000**0.5
    assert ((draws.mean(0) - totals[:, None] * share).abs() < 4.5 * error + 1e-9).all()


@pytest.mark.parametrize(("family", "weight"), [(Multinomial(), 0.3), (Dirichlet(), 1.0), (Dirichlet(), 0.5)])
def test_absent_cells_that_make_no_sense_are_refused(family: Family, weight: float) -> None:
    assert Absent.of_weight(weight) not in family.absent
    with pytest.raises(UnfitPair, match=f"Family {family.name} cannot take an absent cell"):
        Bilateral(BilateralModel(2, family, Plain()), 4, 6, weight, 0.0)
    with pytest.raises(ValueError, match="cannot take an absent cell"):
        COUPLED[type(family)](family, *factors(), weight).log_prob(sparse(COUNTS + 1))


@pytest.mark.parametrize("family", [Multinomial(), Dirichlet()], ids=lambda f: f.name)
def test_items_have_no_rows_and_users_do(family: Family) -> None:
    model = Bilateral(BilateralModel(3, family, Plain()), 4, 6, 0.0, 0.0).double()
    values = COUNTS if isinstance(family, Multinomial) else SHARES
    rows, left, right = sparse(values), *factors(6)
    law = model.row_distribution(model.user, left, right, None, None)
    assert isinstance(law, COUPLED[type(family)])
    assert bool(law.log_prob(rows).isfinite().all())
    assert isinstance(model(Batch("user", torch.arange(4), rows)), CoupledRows)
    with pytest.raises(UnfitPair, match=r"items have no rows of their own: .* joint schedule"):
        model.row_distribution(model.item, right, left, None, None)


def test_a_row_of_one_cell_says_nothing_of_shares() -> None:
    left, right = factors(7)
    got = DirichletRows(Dirichlet(), left, right, 0.0).log_prob(sparse(SHARES))
    assert got[2:].tolist() == [0.0, 0.0]
    assert math.isfinite(float(got[:2].sum()))
