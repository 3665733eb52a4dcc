"""What every test must leave as it found it, and small fits that several tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch

from pyrorec.guides import BilateralGuide
from pyrorec.guides.covariances import Covariance
from pyrorec.guides.encoders import Encoding
from pyrorec.guides.popularity import PopularityGuide, starting_numbers
from pyrorec.guides.record_encoder import GroupRecords, RecordEncoder
from pyrorec.inference.records import Records
from pyrorec.inference.train import module_local
from pyrorec.models.affinities import Affinity
from pyrorec.models.bilateral import Batch, Bilateral, BilateralModel
from pyrorec.models.distributions import PopularityDistribution, Prior
from pyrorec.models.factor_priors import FactorPrior
from pyrorec.models.families import Cloglog, Family, Outcome, Poisson
from pyrorec.models.laws import single
from pyrorec.models.popularity import Popularity, PopularityModel, RecordBatch
from pyrorec.models.posterior_families import PosteriorFamily
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor
from pyrorec.models.prior_source import PriorSource
from pyrorec.models.registry import Registry
from pyrorec.models.rows import SparseRows
from pyrorec.models.sharing import PerInteraction, PerItem, PerPeriod, Sharing

ROOT = Path(__file__).resolve().parent.parent
REGISTRIES: list[Registry[Any]] = [
    Family.registry,
    Predictor.registry,
    PopularityDistribution.registry,
    Affinity.registry,
    PosteriorFamily.registry,
    Sharing.registry,
    PriorSource.registry,
    Encoding.registry,
    Covariance.registry,
    FactorPrior.registry,
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


@pytest.fixture(scope="module")
def without_pictures() -> Iterator[None]:
    """Drawing takes most of a small fit's time and has tests of its own: pages are made, pictures are empty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyrorec.report.html.png", lambda figure: b"")
        yield


class NoDraws:
    """An empty file in place of the posterior's draws."""

    def to_netcdf(self, path: Path) -> None:
        path.touch()


@contextmanager
def left_empty(*files: str) -> Iterator[None]:
    """The files "report" and "draws", which take nine tenths of a small fit's saving and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        if "report" in files:
            patch.setattr("pyrorec.commands.fit.write_report", lambda run, path, **rest: path.touch())
        if "draws" in files:
            patch.setattr("pyrorec.inference.run.Run.to_arviz", lambda run: NoDraws())
        yield


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
        item_prior: Prior | None = None,
        **parts: Any,
    ) -> Tiny:
        g = torch.Generator().manual_seed(seed)
        cells = torch.rand(shape, generator=g) < 0.6
        row, column = cells.nonzero(as_tuple=True)
        count = torch.randint(1, 5, (len(row),), generator=g).double()
        value = {
            Outcome.COUNT: count,
            Outcome.CLICK: (count > 2).double(),
        }.get(family.outcome, count + torch.randn(len(row), generator=g).double())
        value = plausible(family, value, torch.ones_like(value))
        rows = both_sides(row, column, value, torch.ones_like(value), shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            spec = BilateralModel(factors=factors, family=family, predictor=predictor, hidden=(4,), **parts)
            weight = missing_weight if family.absent_refusal(missing_weight) is None else 0.0
            model = Bilateral(spec, *shape, weight, level=-0.3, item_prior=item_prior).double()
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


@dataclass(frozen=True)
class Popular:
    """A small popularity model with its guide, in float64, and the records of a log."""

    model: Popularity
    guide: PopularityGuide
    records: Records

    def batch(self, ids: list[int] | None = None, kl_weight: float = 1.0) -> RecordBatch:
        """A batch of some records, by default all."""
        picked = torch.arange(len(self.records)) if ids is None else torch.tensor(ids)
        return self.records.batch(picked, kl_weight, isinstance(self.model.spec.sharing, PerInteraction))

    def q(self, batch: RecordBatch) -> None:
        """The guide as a function of the batch alone."""
        self.guide(batch, self.model)

    def laws(self) -> dict[str, Any]:
        """The posterior of every latent site, all groups."""
        found = {site: single(law) for site, law in self.guide.laws().items()}
        if self.model.spec.popularity is not None:
            found["popularity"] = self.guide.popularity_law(self.model, torch.arange(self.model.groups))
        return found


USERS, ITEMS = 6, 5


def plausible(family: Family, value: torch.Tensor, trials: torch.Tensor) -> torch.Tensor:
    """Values as given where the family can hold them, else draws of its own at eta = 0."""
    if family.refusal(value, trials) is None:
        return value
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return family.sample(torch.zeros_like(value), trials)


@pytest.fixture
def popular() -> Iterator[Callable[..., Popular]]:
    """Builds a perturbed popularity model and its guide on random records of 6 users and 5 items with features.

    Parameters are local to their modules until the test ends, as they are in training.
    """

    def build(
        spec: PopularityModel,
        *,
        records: int = 24,
        columns: tuple[int, int] = (2, 1),
        item_prior: Prior | None = None,
        drawn: Callable[[Any], Any] = lambda law: law,
        noise: float = 0.2,
        seed: int = 0,
    ) -> Popular:
        g = torch.Generator().manual_seed(seed)
        user, item = torch.randint(USERS, (records,), generator=g), torch.arange(records) % ITEMS
        trials = torch.randint(1, 4, (records,), generator=g).double()
        count = torch.poisson(torch.full((records,), 1.5).double(), generator=g)
        value = count if spec.outcome is Outcome.COUNT else torch.minimum(count, trials)
        if spec.outcome is Outcome.RATING:
            value = torch.randn(records, generator=g).double() * trials
        value = plausible(spec.family, value, trials)
        every = torch.arange(ITEMS)
        group, item_of_group = {
            PerItem: (item, every),
            PerInteraction: (torch.arange(records), item),
            PerPeriod: (item * 4 + torch.arange(records) % 4, every.repeat_interleave(4)),
        }[type(spec.sharing)]
        weight = 0.5 + torch.rand(records, generator=g).double()
        log = Records(user, item, group, value, trials, weight, len(item_of_group), item_of_group)
        features = [torch.randn(n, c, generator=g) for n, c in zip((USERS, ITEMS), columns, strict=True)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Popularity(spec, *features, item_of_group, item_prior, level=-0.4).double()
            encoder = RecordEncoder(*starting_numbers(model)) if spec.amortised else None
            guide = PopularityGuide(model, encoder, drawn).double()
            with torch.no_grad():
                for parameter in [*model.parameters(), *guide.parameters()]:
                    parameter += noise * torch.randn_like(parameter)
            guide.refresh(model)
            if encoder is not None:
                batch = log.batch(torch.arange(records), 1.0, False)
                affinity = model.affinity({site: law.mean for site, law in guide.laws().items()}, batch)
                encoder.read(GroupRecords.of(group, log.groups, value, trials, affinity.detach()))
        return Popular(model, guide, log)

    with module_local():
        yield build


CELLWISE: list[type[Family]] = [family for family in Family.registry if not family.coupled]
"""Families in which a cell has a probability of its own."""
FITTING_PAIRS: list[tuple[Predictor, Family]] = [
    *((Plain(), family.example()) for family in CELLWISE),
    *((LogAdditive(), family) for family in (Poisson(), Cloglog())),
    *((Additive(), family.example()) for family in CELLWISE),
]
FITTING_IDS = [f"{predictor.name}-{family.name}" for predictor, family in FITTING_PAIRS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `predictor` and `family` runs on every pair that fits."""
    if {"predictor", "family"} <= set(metafunc.fixturenames):
        metafunc.parametrize(("predictor", "family"), FITTING_PAIRS, ids=FITTING_IDS)
