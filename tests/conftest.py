"""What every test must leave as it found it, and small fits that several tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

from pyrorec.guides import BilateralGuide
from pyrorec.inference.train import module_local
from pyrorec.models.affinities import Affinity
from pyrorec.models.bilateral import Batch, Bilateral, BilateralModel
from pyrorec.models.distributions import PopularityDistribution
from pyrorec.models.families import Cloglog, Family, Outcome, Poisson
from pyrorec.models.posterior_families import PosteriorFamily
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor
from pyrorec.models.prior_source import PriorSource
from pyrorec.models.registry import Registry
from pyrorec.models.rows import SparseRows
from pyrorec.models.sharing import Sharing

ROOT = Path(__file__).resolve().parent.parent
REGISTRIES: list[Registry[Any]] = [
    Family.registry,
    Predictor.registry,
    PopularityDistribution.registry,
    Affinity.registry,
    PosteriorFamily.registry,
    Sharing.registry,
    PriorSource.registry,
]
"""Every registry that tests must leave as they found it, and whose classes the conformance tests go through."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden values and data sets beside the checkout."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder.name} beside the checkout: its golden values and data are not tested")
    return folder


def _settings() -> dict[str, object]:
    return {
        "registries": {registry.kind: dict(registry._classes) for registry in REGISTRIES},
        "default dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "torch validation": torch.distributions.Distribution._validate_args,
        "gradient mode": torch.is_grad_enabled(),
        "Pyro settings": pyro.settings.get(),
    }


@pytest.fixture(autouse=True)
def leaves_no_trace() -> Iterator[None]:
    """Fails a test that leaves global state changed: parameters, registries, dtype, threads, validation."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = _settings()
    yield
    after, left = _settings(), list(pyro.get_param_store().keys())
    pyro.clear_param_store()
    assert not left, f"the global parameter store was used: {left}"
    changed = [name for name in before if before[name] != after[name]]
    assert not changed, f"left changed: {changed}"


@dataclass(frozen=True)
class Tiny:
    """A small model with its guide, in float64, and the rows both sides observe."""

    model: Bilateral
    guide: BilateralGuide
    rows: dict[str, SparseRows]

    def batch(self, side: str, ids: list[int] | None = None, kl_weight: float = 1.0) -> Batch:
        """A batch of some rows (by default all) of a side."""
        picked = torch.arange(len(self.rows[side])) if ids is None else torch.tensor(ids)
        return Batch(side, picked, self.rows[side].take(picked), kl_weight)

    def q(self, batch: Batch) -> None:
        """The guide as a function of the batch alone."""
        self.guide(batch, self.model)


def both_sides(
    row: torch.Tensor, column: torch.Tensor, value: torch.Tensor, trials: torch.Tensor, shape: tuple[int, int]
) -> dict[str, SparseRows]:
    """Rows of users and of items from the same cells."""
    return {
        "user": SparseRows.from_cells(row, column, value, trials, shape),
        "item": SparseRows.from_cells(column, row, value, trials, shape[::-1]),
    }


@pytest.fixture
def tiny() -> Iterator[Callable[..., Tiny]]:
    """Builds a perturbed model and refreshed guide on random data: 6 users, 5 items, 2 factors.

    Parameters are local to their modules until the test ends, as they are in training.
    """

    def build(
        predictor: Predictor,
        family: Family,
        *,
        shape: tuple[int, int] = (6, 5),
        factors: int = 2,
        missing_weight: float = 1.0,
        guide: type[BilateralGuide] = BilateralGuide,
        seed: int = 0,
    ) -> Tiny:
        g = torch.Generator().manual_seed(seed)
        cells = torch.rand(shape, generator=g) < 0.6
        row, column = cells.nonzero(as_tuple=True)
        count = torch.randint(1, 5, (len(row),), generator=g).double()
        value = {
            Outcome.COUNT: count,
            Outcome.CLICK: (count > 2).double(),
            Outcome.RATING: count + torch.randn(len(row), generator=g).double(),
        }[family.outcome]
        rows = both_sides(row, column, value, torch.ones_like(value), shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            spec = BilateralModel(factors=factors, family=family, predictor=predictor, hidden=(4,))
            model = Bilateral(spec, *shape, missing_weight, level=-0.3).double()
            q = guide(model, rows).double()
            with torch.no_grad():
                for parameter in [*model.parameters(), *q.parameters()]:
                    parameter += 0.2 * torch.randn_like(parameter)
            q.eval()
            for side in ("user", "item", "user"):
                q.refresh(model, side, rows[side])
        return Tiny(model, q, rows)

    with module_local():
        yield build


FITTING_PAIRS: list[tuple[Predictor, Family]] = [
    *((Plain(), family.example()) for family in Family.registry),
    *((LogAdditive(), family) for family in (Poisson(), Cloglog())),
    *((Additive(), family.example()) for family in Family.registry),
]
FITTING_IDS = [f"{predictor.name}-{family.name}" for predictor, family in FITTING_PAIRS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `predictor` and `family` runs on every pair that fits."""
    if {"predictor", "family"} <= set(metafunc.fixturenames):
        metafunc.parametrize(("predictor", "family"), FITTING_PAIRS, ids=FITTING_IDS)
