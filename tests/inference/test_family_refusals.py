"""What a family cannot describe is refused before anything is fitted, in one sentence with the remedy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pyrorec.data import InputError, Interactions, Missing, Unobserved, Weighted, Zero
from pyrorec.inference.choice import choose
from pyrorec.inference.fit import fit
from pyrorec.inference.settings import Context, Training
from pyrorec.inference.validation import log_likelihood
from pyrorec.models.bilateral import BilateralModel, UnfitPair
from pyrorec.models.families import (
    Beta,
    Binomial,
    Dirichlet,
    Family,
    GammaResponse,
    GaussianPerItem,
    Multinomial,
    NegativeBinomial,
    Ordinal,
)
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.predictors import Plain


def log_of(value: list[float], missing: Missing) -> Interactions:
    ids = pd.RangeIndex(3)
    user, item = np.repeat(np.arange(3), 3), np.tile(np.arange(3), 3)
    return Interactions(
        users=ids, items=ids, user=user, item=item, value=np.array(value), trials=np.ones(9), missing=missing
    )


def refused(family: Family, value: list[float], missing: Missing) -> str:
    model = BilateralModel(2, family, Plain())
    with pytest.raises(InputError) as error:
        fit(model, log_of(value, missing), training=Training(epochs=1), context=Context(progress=False))
    return str(error.value)


RATINGS, AMOUNTS, SHARES = (
    [1.0, 2, 3, 4, 5, 1, 2, 3, 4],
    [0.5 + 0.1 * n for n in range(9)],
    [0.1 * n for n in range(1, 10)],
)
ABSENT = [
    (Ordinal(), RATINGS, Zero(), "unobserved"),
    (Ordinal(), RATINGS, Weighted(0.1), "unobserved"),
    (GammaResponse(), AMOUNTS, Zero(), "unobserved"),
    (Beta(), SHARES, Weighted(0.5), "unobserved"),
    (GaussianPerItem(), AMOUNTS, Zero(), "unobserved"),
    (Dirichlet(), AMOUNTS, Zero(), "unobserved"),
    (Multinomial(), RATINGS, Weighted(0.5), "zero or unobserved"),
]


@pytest.mark.parametrize(("family", "value", "missing", "remedy"), ABSENT, ids=lambda x: getattr(x, "name", ""))
def test_absent_cells_that_a_family_cannot_take(
    family: Family, value: list[float], missing: Missing, remedy: str
) -> None:
    said = refused(family, value, missing)
    assert said.startswith(f"Family {family.name} cannot take an absent cell for")
    assert said.endswith(f"use --missing {remedy}.")


VALUES = [
    (Ordinal(), [*RATINGS[:8], 7.0], "takes ratings 1 to 5, and the log holds 7"),
    (GammaResponse(), [*AMOUNTS[:8], 0.0], "takes amounts above zero, and the log holds 0"),
    (Beta(), [*SHARES[:8], 1.0], "strictly between 0 and 1, and the log holds 1"),
    (NegativeBinomial(), AMOUNTS, "takes whole numbers of zero or more"),
    (Binomial(size=3), RATINGS, "Family binomial of size 3 takes counts up to it, but the log holds 5"),
]


@pytest.mark.parametrize(("family", "value", "reason"), VALUES, ids=lambda x: getattr(x, "name", ""))
def test_values_that_a_family_cannot_have_produced(family: Family, value: list[float], reason: str) -> None:
    assert reason in refused(family, value, Unobserved())


@pytest.mark.parametrize("family", [Multinomial(), Dirichlet()], ids=lambda f: f.name)
def test_coupled_families_need_both_sides_to_move(family: Family) -> None:
    assert "items have no rows to be trained on" in refused(family, [n + 1.0 for n in range(9)], Unobserved())
    with pytest.raises(UnfitPair, match="take the bilateral model"):
        PopularityModel(family=family)


def test_the_choice_of_a_family_settles_the_rest() -> None:
    """Whole numbers in 1..5 are not binarised for a family of grades or counts, and absent cells say what they can."""
    log = log_of(RATINGS, Zero())
    ordinal = choose(log, family=Ordinal())
    assert (ordinal.model.binarise, type(ordinal.missing)) == (False, Unobserved)
    counts = choose(log, family=NegativeBinomial())
    assert (counts.model.binarise, type(counts.missing)) == (False, Zero)
    assert choose(log, family=Multinomial()).model.binarise
    choose(log_of(SHARES, Unobserved()), family=Beta())


def test_single_cells_of_a_coupled_family_have_no_density() -> None:
    log = log_of(RATINGS, Unobserved())
    run = fit(BilateralModel(2, Ordinal(), Plain()), log, training=Training(epochs=1), context=Context(progress=False))
    assert bool(log_likelihood(run.posterior, log).isfinite().all())
    with pytest.raises(InputError, match="no density of single ones: judge whole rows"):
        log_likelihood(replace(run.posterior, response=Multinomial()), log)
