"""Which rule the counts call for."""

from __future__ import annotations

import numpy as np
import pytest
from eb_worlds import gamma_world, lognormal_world

from pyrorec.data import InputError
from pyrorec.inference.empirical_bayes import (
    Counts,
    GammaPoissonML,
    GammaPoissonTruncated,
    InformativeExposure,
    NormalLogCounts,
    PoissonLogNormal,
    choose_rule,
    compare_rules,
)


def test_held_out_likelihood_prefers_the_law_that_made_the_counts() -> None:
    """Both ways round by more than 3 standard errors of the paired difference."""
    for counts, sign in ((gamma_world(3000, seed=1)[1], -1), (lognormal_world(3000, seed=1)[1], 1)):
        table = compare_rules(counts)
        assert list(table.index) == ["gamma-poisson", "poisson-lognormal"]
        second = table.iloc[1]
        assert sign * second["difference"] > 3 * second["difference_se"]
        assert table["difference"].iloc[0] == 0
        assert second["difference"] == pytest.approx(table["log_likelihood"].diff().iloc[1])


def test_items_are_held_out_from_what_predicts_them() -> None:
    """In-sample the likelihood is higher, by about a parameter's worth an item and fold."""
    _, counts = gamma_world(200, seed=2)
    inside = GammaPoissonML().fit(counts).log_likelihood / 200
    held_out = compare_rules(counts)["log_likelihood"].iloc[0]
    assert 0 < inside - held_out < 0.05
    assert compare_rules(counts).equals(compare_rules(counts))


def test_other_rules_compare_too() -> None:
    rng = np.random.default_rng(4)
    z = rng.gamma(2, 1 / 20, 1000)
    exposure = np.ceil(500 * z * np.exp(0.5 * rng.normal(size=1000)))
    table = compare_rules(Counts(rng.poisson(exposure * z), exposure), rules=(GammaPoissonML(), InformativeExposure()))
    assert table["difference"].iloc[1] > 5 * table["difference_se"].iloc[1]


def test_the_choice_follows_its_table() -> None:
    gamma, lognormal = gamma_world(2000, seed=3)[1], lognormal_world(3000, seed=3)[1]
    rich = lognormal_world(3000, seed=3, exposure=100)[1]
    seen = Counts(lognormal.n[lognormal.n > 0], lognormal.exposure[lognormal.n > 0])
    assert choose_rule(gamma).rule == GammaPoissonML()
    assert choose_rule(lognormal).rule == PoissonLogNormal()
    assert choose_rule(rich).rule == NormalLogCounts()
    assert choose_rule(seen).rule == GammaPoissonTruncated()
    assert choose_rule(seen).table is None
    assert "absent from the log" in choose_rule(seen).reason
    assert "se " in choose_rule(gamma).reason


def test_counts_that_tell_the_laws_apart_by_chance_only_stay_with_the_gamma() -> None:
    assert choose_rule(Counts(np.array([3, 0, 4, 2, 3, 1, 2, 3, 3, 2]), np.ones(10))).rule == GammaPoissonML()


def test_a_handful_of_items_is_not_compared() -> None:
    choice = choose_rule(Counts(np.array([3, 0, 40]), np.ones(3)))
    assert (choice.rule, choice.table) == (GammaPoissonML(), None)
    assert "too few" in choice.reason


@pytest.mark.parametrize("folds", [1, 6])
def test_impossible_folds_are_refused(folds: int) -> None:
    with pytest.raises(InputError, match="held out"):
        compare_rules(Counts(np.arange(10), np.ones(10)), folds)
