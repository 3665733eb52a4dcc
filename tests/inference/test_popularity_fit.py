"""Fitting the popularity model: seeds, resuming, every combination through a folder and back, what is drawn, held."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import left_empty, plausible
from interruption import stopping_after
from small_popularity import (
    SHORT,
    SMALL,
    covering,
    differing,
    every_fitting_model,
    fitted,
    implicit,
    impressions,
    named,
    numbers,
    tiny_impressions,
)
from torch import Tensor

from pyrorec.data import FeatureEncoders, InputError, Interactions, Weighted, Zero
from pyrorec.inference import train as loop
from pyrorec.inference.checkpoints import fingerprint
from pyrorec.inference.objective import MAP, Analytic, Expected, MonteCarlo, Objective, ScoreFunction
from pyrorec.inference.popularity_fitting import PopularityFitting, start_popularity
from pyrorec.inference.records import drawn_negatives, records_of
from pyrorec.inference.run import Run
from pyrorec.inference.settings import Context, Training
from pyrorec.inference.store import load
from pyrorec.inference.train import local_randomness
from pyrorec.models.affinities import Dot, Linear
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.distributions import Exponential, Gamma, LogNormal, Normal
from pyrorec.models.families import Cloglog, Gaussian
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.posterior_families import (
    GammaPosterior,
    InverseGaussianPosterior,
    LogNormalPosterior,
    NormalPosterior,
    WeibullPosterior,
)
from pyrorec.models.predictors import LogAdditive, Plain, UnfitPair
from pyrorec.models.prior_source import EarlierPeriods, ExposureCounts
from pyrorec.models.sharing import PerInteraction, PerItem, PerPeriod

FRAILTY = PopularityModel(affinity=SMALL, predictor=LogAdditive(), family=Cloglog())
MODELS: dict[str, tuple[PopularityModel, Callable[[], Interactions]]] = {
    "item": (PopularityModel(affinity=SMALL), impressions),
    "period": (PopularityModel(affinity=SMALL, sharing=PerPeriod(periods=3)), impressions),
    "interaction": (PopularityModel(affinity=SMALL, sharing=PerInteraction()), impressions),
    "exposure": (PopularityModel(affinity=SMALL, source=ExposureCounts()), impressions),
    "exposure of a frailty": (replace(FRAILTY, source=ExposureCounts()), impressions),
    "exposure, lognormal": (replace(FRAILTY, popularity=LogNormal(), source=ExposureCounts()), impressions),
    "earlier": (PopularityModel(affinity=SMALL, source=EarlierPeriods(share=0.4)), impressions),
    "earlier, by period": (
        PopularityModel(affinity=SMALL, source=EarlierPeriods(), sharing=PerPeriod(periods=2)),
        impressions,
    ),
    "interaction, exponential": (
        replace(FRAILTY, popularity=Exponential(), posterior=WeibullPosterior(), sharing=PerInteraction()),
        impressions,
    ),
    "amortised": (PopularityModel(affinity=SMALL, amortised=True), impressions),
    "amortised, by interaction": (
        replace(FRAILTY, amortised=True, sharing=PerInteraction(), posterior=GammaPosterior()),
        impressions,
    ),
    "amortised, from exposure": (replace(FRAILTY, amortised=True, source=ExposureCounts()), impressions),
    "absent pairs as zeros": (PopularityModel(affinity=SMALL, negatives=1.5), implicit),
    "affinity first": (PopularityModel(affinity=SMALL, affinity_first=True, amortised=True), impressions),
    "inverse propensity": (PopularityModel(affinity=SMALL, inverse_propensity=True), impressions),
    "linear": (PopularityModel(affinity=Linear()), impressions),
    "dot": (PopularityModel(affinity=Dot(factors=3)), impressions),
    "no popularity": (PopularityModel(affinity=SMALL, predictor=Plain()), impressions),
}
by_name = pytest.mark.parametrize("name", MODELS)


TWICE = replace(SHORT, epochs=2)
"""An epoch for each half of a fit that learns affinity first."""


@pytest.fixture(scope="module")
def whole() -> dict[str, Run]:
    """Every model, fitted once in two epochs."""
    return {name: fitted(model, log(), TWICE) for name, (model, log) in MODELS.items()}


def assert_comes_back(run: Run, folder: Path) -> None:
    with left_empty("draws"):
        run.save(folder)
    back = load(folder)
    assert (back.spec, back.training, back.seed) == (run.spec, run.training, run.seed)
    assert differing(run, back) == []
    pairs = run.log.to_frame().head(40)[["user_id", "item_id"]]
    scored = run.score(pairs)[["mean", "sd", "lower", "upper"]]
    assert np.isfinite(scored).all(axis=None)
    assert scored.equals(back.score(pairs)[["mean", "sd", "lower", "upper"]])


# --- the same again


@by_name
def test_the_same_seed_gives_the_same_posterior_bit_for_bit(whole: dict[str, Run], name: str) -> None:
    model, log = MODELS[name]
    torch.rand(5)
    again = fitted(model, log(), TWICE)
    assert differing(whole[name], again) == []
    assert again.metrics == whole[name].metrics
    assert all(math.isfinite(line["elbo"]) for line in again.metrics)


@pytest.mark.parametrize("name", ["item", "amortised", "absent pairs as zeros"])
def test_another_seed_gives_another_posterior(whole: dict[str, Run], name: str) -> None:
    model, log = MODELS[name]
    assert {"user_mean", "item_mean", "intercept"} <= set(differing(whole[name], fitted(model, log(), TWICE, seed=1)))


@by_name
def test_a_run_comes_back_from_its_folder_bit_for_bit(whole: dict[str, Run], name: str, tmp_path: Path) -> None:
    assert_comes_back(whole[name], tmp_path / "run")


EVERY = every_fitting_model()
ONCE = replace(SHORT, epochs=1)


def tiny_fit(model: PopularityModel) -> Run:
    """One epoch on values that the family takes."""
    log = tiny_impressions()
    value = plausible(model.family, torch.as_tensor(log.value), torch.as_tensor(log.trials)).numpy()
    return fitted(model, replace(log, value=value), ONCE)


@pytest.mark.parametrize("model", EVERY, ids=named)
def test_every_combination_is_fitted(model: PopularityModel) -> None:
    run = tiny_fit(model)
    assert all(math.isfinite(line["elbo"]) for line in run.metrics)
    assert all(bool(torch.isfinite(value).all()) for value in numbers(run.posterior).values())


@pytest.mark.parametrize("model", covering(EVERY), ids=named)
def test_any_two_parts_are_scored_and_come_back_together(model: PopularityModel, tmp_path: Path) -> None:
    """A score asks the posterior, or the prior, through the link, and a file holds part by part: never all three."""
    assert_comes_back(tiny_fit(model), tmp_path / "run")


def test_nothing_that_fits_is_left_out() -> None:
    """Four priors with four posteriors on the rate scale, one of each on the log scale, none for plain."""
    found = [named(model).split("-")[0] for model in EVERY]
    counted = {name: found.count(name) for name in set(found)}
    assert counted == {"additive": 14, "log": 32, "odds": 16, "plain": 14, "product": 48}
    assert len(covering(EVERY)) >= 14 + 14 + 6 * 4, "four posteriors a rate's link"


POSTERIORS = {
    "normal": PopularityModel(affinity=SMALL),
    "gamma": FRAILTY,
    "lognormal": replace(FRAILTY, posterior=LogNormalPosterior()),
    "weibull": replace(FRAILTY, posterior=WeibullPosterior()),
}


@pytest.mark.parametrize("objective", [Analytic(), MonteCarlo(particles=2), ScoreFunction()], ids=repr)
@pytest.mark.parametrize("amortised", [False, True])
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_every_objective_trains_every_posterior_family(objective: Objective, amortised: bool, posterior: str) -> None:
    """Finite, and what is learned is no longer where it began."""
    model, training = replace(POSTERIORS[posterior], amortised=amortised), replace(SHORT, epochs=2, objective=objective)
    first = fitted(model, tiny_impressions(), training)
    assert all(math.isfinite(line["elbo"]) for line in first.metrics)
    law = first.posterior.popularity
    assert law is not None
    assert float(law.mean.std()) > 1e-4, "items are told apart"


@pytest.mark.parametrize(
    "name", ["item", "interaction", "amortised", "absent pairs as zeros", "affinity first", "earlier"]
)
def test_resuming_equals_never_having_stopped(name: str, tmp_path: Path) -> None:
    model, log = MODELS[name]
    training = replace(
        SHORT, epochs=4, checkpoint_every=2, validation_fraction=0.1, validate_every=1, patience=9, finish_epochs=1
    )
    never = fitted(model, log(), training)
    with stopping_after(3):
        fitted(model, log(), training, folder=tmp_path)
    resumed = fitted(model, log(), training, folder=tmp_path, resume=True)
    assert differing(never, resumed) == []
    assert resumed.metrics == never.metrics


@contextmanager
def under_way(model: PopularityModel, log: Interactions, training: Training = SHORT) -> Iterator[PopularityFitting]:
    """A fit before its first epoch, inside the settings that `fit` works in."""
    context = Context(progress=False, threads=1)
    with local_randomness(context):
        yield start_popularity(model, log, None, training, context, FeatureEncoders.fit(log))


def test_a_checkpoint_belongs_to_its_periods_features_and_priors() -> None:
    """Times decide the periods, exposure the priors: none of it may change under a fit that is resumed."""
    log = impressions()
    assert log.timestamp is not None
    changed = {
        "times": (MODELS["period"][0], replace(log, timestamp=log.timestamp[::-1])),
        "features": (MODELS["item"][0], replace(log, item_features=None)),
        "earlier cells": (MODELS["earlier"][0], replace(log, value=np.where(log.timestamp < 1_100, 0, log.value))),
    }
    for what, (model, other) in changed.items():
        with under_way(model, log) as one, under_way(model, other) as two, under_way(model, log) as same:
            assert fingerprint(one) == fingerprint(same), what
            assert fingerprint(one) != fingerprint(two), what


# --- what is refused


REFUSED: dict[str, tuple[PopularityModel, Callable[[], Interactions], Training, str]] = {
    "map": (FRAILTY, impressions, replace(SHORT, objective=MAP()), "has no MAP fit"),
    "exposure counts of zeros": (MODELS["exposure"][0], implicit, SHORT, "--missing unobserved"),
    "periods of absent pairs": (MODELS["period"][0], implicit, SHORT, "share popularity per item"),
    "interactions of absent pairs": (MODELS["interaction"][0], implicit, SHORT, "share popularity per item"),
    "no times for periods": (MODELS["period"][0], tiny_impressions, SHORT, "needs a timestamp column"),
    "no times for earlier ones": (MODELS["earlier"][0], tiny_impressions, SHORT, "no timestamps"),
    "no propensities": (MODELS["inverse propensity"][0], tiny_impressions, SHORT, "need a propensity column"),
    "no rule": (
        replace(FRAILTY, popularity=Exponential(), source=ExposureCounts()),
        impressions,
        SHORT,
        "no empirical Bayes rule",
    ),
    "counts for clicks": (
        PopularityModel(affinity=SMALL),
        lambda: counts(),
        SHORT,
        "takes clicks, but the log holds values up to",
    ),
}


def counts() -> Interactions:
    log = implicit()
    return replace(log, value=log.value + np.arange(len(log)) % 9)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_fitted_is_refused_in_one_sentence(name: str) -> None:
    model, log, training, said = REFUSED[name]
    with pytest.raises(InputError, match=said) as refusal:
        fitted(model, log(), training)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("objective", [Expected(), ScoreFunction()], ids=repr)
def test_objectives_of_the_popularity_model_are_refused_for_the_bilateral_one(objective: Objective) -> None:
    with pytest.raises(InputError, match="are for the popularity model"):
        fitted(BilateralModel(factors=2), implicit(), replace(SHORT, objective=objective))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"popularity": Gamma()}, "takes popularity as .*, not popularity gamma"),
        ({"posterior": GammaPosterior()}, "takes popularity as .*, not posterior gamma"),
        ({"predictor": LogAdditive()}, "multiplies a rate"),
        ({"predictor": LogAdditive(), "family": Cloglog(), "popularity": Normal()}, "not popularity normal"),
        ({"predictor": LogAdditive(), "family": Cloglog(), "posterior": NormalPosterior()}, "not posterior normal"),
        ({"predictor": Plain(), "popularity": Normal()}, "takes no popularity"),
        ({"negatives": 0.0}, "negatives must be above zero"),
        ({"affinity": Dot(factors=-1)}, "factors must not be negative"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(UnfitPair, match=said):
        PopularityModel(**parts)


def test_sizes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="periods must be at least 1, not 0"):
        PerPeriod(periods=0)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="share must lie strictly between 0 and 1"):
            EarlierPeriods(share=share)


# --- the objectives estimate one bound


def test_every_objective_estimates_the_same_bound() -> None:
    """With a linear affinity nothing about the expected ELBO is drawn; the others scatter about it."""
    with under_way(PopularityModel(affinity=Linear()), tiny_impressions()) as fitting:
        (batch,) = list(fitting._batches())
        arguments = (fitting.model, lambda b: fitting.guide(b, fitting.model), replace(batch, kl_weight=1.0))

        def losses(objective: Objective, n: int) -> np.ndarray:
            torch.manual_seed(4)
            return np.array([float(objective.loss().loss(*arguments)) for _ in range(n)])

        exact = losses(Expected(), 2)
        assert exact[0] == exact[1]
        for objective in (Analytic(), MonteCarlo(), ScoreFunction()):
            drawn = losses(objective, 144)
            assert drawn.std() > 0
            assert abs(drawn.mean() - exact[0]) < 4 * drawn.std() / 12, objective


def test_the_score_function_has_the_gradient_of_the_bound() -> None:
    """With respect to the locations of popularity, against the expected ELBO; drawn without reparameterisation."""
    with under_way(replace(FRAILTY, affinity=Linear(), posterior=WeibullPosterior()), tiny_impressions()) as fitting:
        (batch,) = list(fitting._batches())
        batch = replace(batch, kl_weight=1.0)
        location = fitting.guide.popularity["q"].location
        for block in fitting.guide.weights.values():
            block.log_sd.data.fill_(-12.0)  # weights that are known, so that only popularity is drawn
        torch.manual_seed(5)

        def gradient(objective: Objective) -> Tensor:
            fitting.guide.drawn = objective.drawn
            loss = objective.loss().differentiable_loss(fitting.model, lambda b: fitting.guide(b, fitting.model), batch)
            (found,) = torch.autograd.grad(loss, [location])
            return found

        exact = gradient(Expected())
        drawn = torch.stack([gradient(ScoreFunction()) for _ in range(200)])
        error = drawn.std(0) / math.sqrt(len(drawn))
        assert (error > 0).all()
        assert float(((drawn.mean(0) - exact) / error).abs().max()) < 4


# --- affinity first


def test_affinity_first_holds_popularity_and_then_affinity() -> None:
    """In the first half nothing of popularity moves but its level, in the second nothing of affinity but the intercept.

    Those two make up for each other: the level of popularity is set where the bound is highest after every epoch.
    """
    model = PopularityModel(affinity=SMALL, affinity_first=True)
    with under_way(model, impressions(), replace(SHORT, epochs=4, anneal=False)) as fitting:
        fitting.begin()

        def parameters() -> dict[str, Tensor]:
            both = {"model": fitting.model, "guide": fitting.guide}
            return {f"{k}.{n}": p.detach().clone() for k, m in both.items() for n, p in m.named_parameters()}

        for epoch in range(4):
            before = parameters()
            loop.run_epoch(fitting)
            fitting.state.epoch += 1
            now = parameters()
            moved = {
                name for name, value in now.items() if not torch.allclose(value, before[name], rtol=1e-5, atol=1e-6)
            }
            of_popularity = {n for n in before if n.startswith(("guide.popularity", "model.parts.predictor"))}
            level = {"model.parts.level.intercept"}
            assert moved - level == (set(before) - of_popularity if epoch < 2 else of_popularity) - level, epoch
        assert all(p.requires_grad for p in [*fitting.model.parameters(), *fitting.guide.parameters()])


def test_no_epoch_before_popularity_moves_is_kept_as_the_best() -> None:
    """However well affinity alone does: patience does not run out, and the epoch kept is one of the second half."""
    model = PopularityModel(affinity=SMALL, affinity_first=True)
    training = replace(
        SHORT, epochs=8, validation_fraction=0.2, validate_every=1, patience=2, finish_epochs=0, learning_rate=1.0
    )
    run = fitted(model, impressions(), training)
    assert run.best_epoch is not None
    assert run.best_epoch >= 4
    law = run.posterior.popularity
    assert law is not None
    assert float(law.mean.std()) > 1e-3


# --- records


def test_inverse_propensity_weights_have_mean_one_over_trials() -> None:
    """Where the cells of popular items hold many trials of high propensity, that is far from a mean over cells."""
    log = impressions()
    trials = np.where(log.item < 5, 40.0, 1.0)
    log = replace(log, trials=trials, value=np.minimum(log.value, trials), propensity=np.where(log.item < 5, 0.9, 0.1))
    weight = records_of(log, MODELS["inverse propensity"][0]).weight.double().numpy()
    assert np.average(weight, weights=trials) == pytest.approx(1.0, abs=1e-6)
    assert weight.mean() > 1.5
    assert log.propensity is not None
    np.testing.assert_allclose(weight * log.propensity, weight[0] * log.propensity[0], rtol=1e-5)
    assert bool((records_of(log, MODELS["item"][0]).weight == 1).all())
    binary = records_of(log, replace(MODELS["inverse propensity"][0], binarise=True))
    assert float(binary.weight.mean()) == pytest.approx(1.0, abs=1e-5), "binarised cells have one trial each"


@pytest.mark.parametrize(
    "model",
    [
        PopularityModel(affinity=SMALL, sharing=PerPeriod(periods=3)),
        PopularityModel(affinity=SMALL, sharing=PerInteraction()),
        PopularityModel(affinity=SMALL, source=EarlierPeriods()),
    ],
    ids=["period", "interaction", "earlier"],
)
def test_what_needs_each_record_refuses_a_log_whose_records_were_merged(model: PopularityModel) -> None:
    merged = replace(impressions(), aggregation="10 records repeat an earlier one")
    with pytest.raises(InputError, match=r"keep them apart \(--repeats apart"):
        fitted(model, merged, SHORT)


def test_a_fraction_that_leaves_nothing_to_fit_is_refused() -> None:
    with pytest.raises(InputError, match=r"leaves \d+ of [\d,]+ cells to fit: lower it"):
        fitted(MODELS["item"][0], impressions(), replace(SHORT, validation_fraction=0.999))


@pytest.mark.parametrize(
    "vain",
    [{"amortised": True}, {"affinity_first": True}, {"source": ExposureCounts()}, {"sharing": PerInteraction()}],
)
def test_settings_of_a_popularity_that_is_not_there_are_refused(vain: dict[str, Any]) -> None:
    with pytest.raises(UnfitPair, match="takes no popularity"):
        PopularityModel(predictor=Plain(), **vain)


def test_propensities_and_absent_zeros_are_refused() -> None:
    """An absent pair has no propensity."""
    log = replace(implicit(), propensity=np.full(len(implicit()), 0.5))
    with pytest.raises(InputError, match="Absent pairs have no propensity"):
        fitted(PopularityModel(affinity=SMALL, inverse_propensity=True), log, SHORT)


def test_draws_without_gradient_are_refused_before_training() -> None:
    model = replace(FRAILTY, posterior=InverseGaussianPosterior())
    with pytest.raises(InputError, match="carry no gradient, which objective analytic needs"):
        fitted(model, impressions(), replace(SHORT, objective=Analytic()))


def test_an_encoder_reads_ratings_below_zero() -> None:
    log = replace(impressions(), value=np.random.default_rng(0).normal(-1, 1.5, len(impressions())))
    log = replace(log, trials=np.ones(len(log)))
    run = fitted(PopularityModel(affinity=SMALL, family=Gaussian(), amortised=True), log, SHORT)
    assert bool(torch.isfinite(run.posterior.item_mean).all())


def test_weights_multiply_the_likelihood_and_not_the_divergences() -> None:
    with under_way(PopularityModel(affinity=Linear()), tiny_impressions()) as fitting:
        (batch,) = list(fitting._batches())
        objective = Expected().loss()
        terms = []
        for weight in (1.0, 3.0):
            torch.manual_seed(0)
            heavier = replace(batch, weight=weight * batch.weight)
            objective.loss(fitting.model, lambda b: fitting.guide(b, fitting.model), heavier)
            terms.append(dict(objective.terms))
        assert float(terms[1]["value"]) == pytest.approx(3 * float(terms[0]["value"]), rel=1e-5)
        assert {n for n in terms[0] if not torch.equal(terms[0][n], terms[1][n])} == {"value"}


def test_groups_of_records() -> None:
    """An item, an item and period, or the record itself; each group knows its item."""
    log = impressions()
    assert log.timestamp is not None
    for sharing, groups in ((PerItem(), 40), (PerPeriod(periods=3), 120), (PerInteraction(), len(log))):
        records = records_of(log, PopularityModel(sharing=sharing))
        assert records.groups == groups == len(records.item_of_group)
        assert torch.equal(records.item_of_group[records.group], records.item)
    records = records_of(log, PopularityModel(sharing=PerPeriod(periods=3)))
    period = (records.group % 3).numpy()
    edges = np.linspace(log.timestamp.min(), log.timestamp.max(), 4)
    assert set(period) == {0, 1, 2}
    assert ((log.timestamp >= edges[period]) & (log.timestamp <= edges[period + 1])).all()


def negatives(log: Interactions, ratio: float, weight: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Flat cells of one drawing, and their weights."""
    drawn = drawn_negatives(log, records_of(log, PopularityModel(binarise=True)), ratio, weight, [seed])
    assert not drawn.value.any()
    assert bool((drawn.trials == 1).all())
    assert torch.equal(drawn.group, drawn.item)
    return (drawn.user * log.n_items + drawn.item).numpy(), drawn.weight.double().numpy()


@pytest.mark.parametrize(("ratio", "missing"), [(0.5, Zero()), (4.0, Weighted(0.3))])
def test_drawn_negatives_stand_for_all_absent_pairs(ratio: float, missing: Zero | Weighted) -> None:
    """Their weighted sum of any function estimates that over all absent pairs without bias; no stored pair is one."""
    log = implicit()
    stored = np.unique(log.user * log.n_items + log.item)
    absent = np.setdiff1d(np.arange(log.n_users * log.n_items), stored)
    f = np.random.default_rng(0).gamma(0.5, size=log.n_users * log.n_items)
    totals = []
    for seed in range(300):
        flat, weight = negatives(log, ratio, missing.weight, seed)
        assert not np.isin(flat, stored).any()
        assert len(flat) == min(math.ceil(ratio * len(log)), len(absent))
        assert weight.sum() == pytest.approx(missing.weight * len(absent), rel=1e-5)
        totals.append(float((weight * f[flat]).sum()))
    exact = missing.weight * f[absent].sum()
    assert abs(np.mean(totals) - exact) < 4 * np.std(totals) / math.sqrt(len(totals))


def test_a_pair_with_a_cell_for_each_exposure_is_one_stored_pair() -> None:
    log = implicit()
    twice = replace(
        log,
        **{name: np.tile(getattr(log, name), 2) for name in ("user", "item", "value", "trials", "timestamp")},
        exposure=np.repeat(["biased", "random"], len(log)),
    )
    _, weight = negatives(twice, 1.0, 1.0, 0)
    assert weight.sum() == pytest.approx(log.n_users * log.n_items - len(log), rel=1e-5)


def test_a_log_without_absent_pairs_has_no_negatives() -> None:
    log = implicit()
    user, item = np.divmod(np.arange(log.n_users * log.n_items), log.n_items)
    columns = {"user": user, "item": item, "value": np.ones(len(user)), "trials": np.ones(len(user))}
    full = replace(log, **columns, timestamp=None, exposure=None)
    assert len(negatives(full, 2.0, 1.0, 0)[0]) == 0


def test_negatives_are_drawn_anew_at_every_epoch_and_again_the_same() -> None:
    model, log = MODELS["absent pairs as zeros"]

    def pairs(fitting: PopularityFitting) -> list[int]:
        batches = list(fitting._batches())
        return sorted(int(f) for b in batches for f in (b.user * 1_000 + b.item)[b.value == 0])

    with under_way(model, log()) as fitting, under_way(model, log()) as other:
        first = pairs(fitting)
        assert pairs(other) == first
        fitting.state.epoch += 1
        assert pairs(fitting) != first


def test_the_kl_counts_every_group_once_an_epoch() -> None:
    """Whatever the number of batches: the divergences of an epoch's batches, on average, are those of one batch."""
    for name in ("item", "period", "interaction"):
        model, log = MODELS[name]
        found = []
        for size in (10_000, 200):
            with under_way(model, log(), replace(SHORT, batch_size=size)) as fitting:
                torch.manual_seed(0)
                for parameter in fitting.guide.popularity.parameters():
                    parameter.data += 0.3 * torch.randn_like(parameter)
                kls = []
                for batch in fitting._batches():
                    objective = Expected().loss()
                    objective.loss(
                        fitting.model, lambda b, f=fitting: f.guide(b, f.model), replace(batch, kl_weight=1.0)
                    )
                    kls.append((float(objective.terms["popularity"]), len(batch.ids)))
                # batches of interactions differ in size by one; weighing by size makes the mean exact
                found.append(float(np.average([kl for kl, _ in kls], weights=[n for _, n in kls])))
        assert found[1] == pytest.approx(found[0], rel=1e-4), name
