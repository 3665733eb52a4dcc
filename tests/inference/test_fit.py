"""Fitting: what depends on the seed, what one step and one epoch do, when training stops, and what is recovered."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from conftest import plausible
from torch import Tensor

from pyrorec.data import FeatureEncoders, InputError, Interactions, Unobserved, Zero
from pyrorec.inference import train as loop
from pyrorec.inference.bilateral_fitting import start
from pyrorec.inference.checkpoints import copy_parameters
from pyrorec.inference.files import read_tensors
from pyrorec.inference.fit import fit, held_out_cells
from pyrorec.inference.item_prior import anchored
from pyrorec.inference.objective import MAP, Analytic, MonteCarlo
from pyrorec.inference.observations import observe
from pyrorec.inference.posterior import Posterior
from pyrorec.inference.run import Run
from pyrorec.inference.schedule import ItemsThenUsers, Schedule, UsersThenItems
from pyrorec.inference.settings import Context, Training
from pyrorec.inference.train import Fitting, NonFiniteLoss, local_randomness, train
from pyrorec.models.bilateral import Batch, BilateralModel
from pyrorec.models.distributions import Scale
from pyrorec.models.families import Bernoulli, Family, Outcome, Poisson
from pyrorec.models.predictors import Additive, LogAdditive, Plain, Predictor
from pyrorec.simulation import FrailtyWorld

MODEL = BilateralModel(factors=2, hidden=(6,))
EVERYTHING = Training(epochs=4, validation_fraction=0.0)
WATCHED = Training(
    epochs=60, learning_rate=0.05, kl_warmup=2, validation_fraction=0.2, validate_every=1, patience=3, finish_epochs=2
)
LARGEST_PLAY_COUNT = 352_698
"""The largest count of Last.fm-360K, the longest tail among the public logs."""


@pytest.fixture(scope="module")
def log() -> Interactions:
    """Some 600 counts of 60 users and 38 items."""
    return FrailtyWorld(users=60, items=40, mean_count=0.5, features=False).simulate(0).train


@pytest.fixture(scope="module")
def long_run(log: Interactions) -> Run:
    """Thirty epochs of the analytic objective on everything."""
    return fitted(log, Training(epochs=30, learning_rate=0.03, validation_fraction=0.0))


@pytest.fixture(scope="module")
def stopped(log: Interactions, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A fit that was stopped early, without finishing epochs, and the folder of its checkpoints."""
    folder = tmp_path_factory.mktemp("stopped")
    return fitted(log, replace(WATCHED, finish_epochs=0), folder=folder), folder


def fitted(log: Interactions, training: Training, model: BilateralModel = MODEL, seed: int = 0, **context: Any) -> Run:
    return fit(model, log, seed=seed, training=training, context=Context(progress=False, **context))


@contextmanager
def under_way(log: Interactions, training: Training, model: BilateralModel = MODEL) -> Iterator[Fitting]:
    """A fit before its first epoch, inside the settings that `fit` works in."""
    context = Context(progress=False, threads=1)
    with local_randomness(context):
        data = observe(log, model, held_out_cells(len(log), training.validation_fraction, context.seed))
        yield start(anchored(model, log), data, training, context, FeatureEncoders.fit(log))


def numbers(posterior: Posterior) -> dict[str, Tensor]:
    """Every number of a posterior, by name."""
    found = {k: getattr(posterior, k) for k in ("user_mean", "user_sd", "item_mean", "item_sd", "intercept")}
    for side, effect in (("user", posterior.user_effect), ("item", posterior.item_effect)):
        for kind, law in (("law", effect.law), ("population", effect.population)):
            names = [n for n in ("concentration", "rate", "loc", "scale", "v") if hasattr(law, n)]
            found |= {f"{side} {kind} {n}": getattr(law, n) for n in names}
    return found


def differing(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are not the same bit for bit."""
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def keep_going(fitting: Fitting, metrics: dict[str, Any]) -> bool:
    return False


Seen = list[tuple[Batch, dict[str, Tensor]]]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Filled, while something trains, with every step's batch and the terms of its loss."""
    seen: Seen = []
    original = loop.step

    def step(fitting: Fitting, batch: Batch) -> dict[str, Tensor]:
        terms = original(fitting, batch)
        seen.append((batch, dict(terms)))
        return terms

    monkeypatch.setattr(loop, "step", step)
    return seen


# --- seeds and the caller's settings


def test_the_same_seed_gives_the_same_posterior_bit_for_bit(log: Interactions) -> None:
    """Whatever the caller's own random state is; and the metrics are the same too."""
    training = Training(epochs=3, finish_epochs=1, dropout=0.2)
    first = fitted(log, training, seed=5)
    torch.rand(7)
    np.random.rand(7)  # noqa: NPY002
    again, other = fitted(log, training, seed=5), fitted(log, training, seed=6)
    assert differing(numbers(first.posterior), numbers(again.posterior)) == []
    assert first.metrics == again.metrics
    # The level is anchored once more when training ends.
    assert set(differing(numbers(first.posterior), numbers(other.posterior))) == set(numbers(first.posterior))


def test_a_seed_given_by_context_is_the_seed_given_by_name(log: Interactions) -> None:
    training = replace(EVERYTHING, epochs=1)
    by_name = fitted(log, training, seed=5)
    by_context = fit(MODEL, log, training=training, context=Context(seed=5, progress=False))
    assert by_context.seed == 5
    assert differing(numbers(by_name.posterior), numbers(by_context.posterior)) == []


def settings_of_the_caller() -> dict[str, Any]:
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002
        "python": random.getstate(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "torch validation": torch.distributions.Distribution._validate_args,
        "pyro": pyro.settings.get(),
        "gradients": torch.is_grad_enabled(),
        "store": {name: value.tolist() for name, value in pyro.get_param_store().items()},
    }


@pytest.mark.filterwarnings("ignore:Encountered NaN")
@pytest.mark.parametrize("validates", [True, False])
def test_the_callers_settings_are_left_as_they_were(log: Interactions, validates: bool) -> None:
    """Random states, default dtype, threads, Pyro's flags and store, after a fit and after one that fails."""
    torch.manual_seed(42)
    torch.set_num_threads(2)
    pyro.get_param_store().setdefault("mine", torch.tensor([1.5, 2.5]))
    try:
        with pyro.validation_enabled(validates):
            before = settings_of_the_caller()
            fitted(log, replace(EVERYTHING, epochs=1))
            assert settings_of_the_caller() == before
            with pytest.raises(NonFiniteLoss):
                fitted(log, replace(EVERYTHING, learning_rate=1e30))
            assert settings_of_the_caller() == before
            assert before["threads"] == 2
    finally:
        pyro.clear_param_store()
        torch.set_num_threads(1)


def test_threads_and_module_local_parameters_hold_inside_only(
    log: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[tuple[int, bool]] = []
    original = loop.run_epoch

    def spy(fitting: Fitting) -> dict[str, Any]:
        inside.append((torch.get_num_threads(), pyro.settings.get("module_local_params")))
        return original(fitting)

    monkeypatch.setattr(loop, "run_epoch", spy)
    torch.set_num_threads(3)
    try:
        fitted(log, replace(EVERYTHING, epochs=1), threads=2)
        fitted(log, replace(EVERYTHING, epochs=1))
        assert inside == [(2, True), (1, True)], "what is asked for, else one for a small log"
        assert (torch.get_num_threads(), pyro.settings.get("module_local_params")) == (3, False)
    finally:
        torch.set_num_threads(1)


def test_the_global_parameter_store_stays_empty(log: Interactions) -> None:
    fitted(log, replace(EVERYTHING, epochs=1))
    assert list(pyro.get_param_store().keys()) == []


# --- one step


def injected(fitting: Fitting, at: int, value: float) -> Callable[..., Tensor]:
    """The objective's loss, with `value` in its place at one evaluation."""
    original, calls = fitting.objective.differentiable_loss, [0]

    def loss(*args: Any) -> Tensor:
        calls[0] += 1
        found = original(*args)
        return found * value if calls[0] == at + 1 else found

    return loss


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_refused_before_the_step(
    log: Interactions, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """Parameters and optimiser are those that the step before left."""
    with under_way(log, replace(EVERYTHING, batch_size=20)) as fitting:
        kept: list[dict[str, Tensor]] = []
        fitting.optimiser.register_step_post_hook(lambda *_: kept.append(copy_parameters(fitting)))
        monkeypatch.setattr(fitting.objective, "differentiable_loss", injected(fitting, 3, value))
        with pytest.raises(NonFiniteLoss, match=r"at epoch 0 \(user side\); lower the learning rate"):
            train(fitting, keep_going)
        assert len(kept) == fitting.state.step == 3
        trained = {name for name, _ in fitting.guide.named_parameters()}
        now = copy_parameters(fitting)
        assert differing(*({k: v[f"guide.{k}"] for k in trained} for v in (kept[-1], now))) == []
        assert all(bool(torch.isfinite(v).all()) for v in now.values())


@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_a_gradient_that_is_no_number_spoils_no_parameter(log: Interactions) -> None:
    """A finite loss may have an infinite gradient; clipping would turn all of it into NaN."""
    with under_way(log, replace(EVERYTHING, batch_size=20)) as fitting:
        fitting.model.level.intercept.register_hook(lambda gradient: gradient * math.inf)
        with pytest.raises(NonFiniteLoss):
            train(fitting, keep_going)
        spoilt = [name for name, value in copy_parameters(fitting).items() if not bool(torch.isfinite(value).all())]
        assert spoilt == []


def gradient_norms(log: Interactions, clip_norm: float) -> list[float]:
    """The norm of the gradient that each step of two epochs took."""
    norms: list[float] = []

    def measure(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for p in optimiser.param_groups[0]["params"] if p.grad is not None]
        norms.append(math.sqrt(sum(float((g.double() ** 2).sum()) for g in gradients)))

    with under_way(log, replace(EVERYTHING, epochs=2, clip_norm=clip_norm, batch_size=20)) as fitting:
        fitting.optimiser.register_step_pre_hook(measure)
        train(fitting, keep_going)
    return norms


def test_clipping_bounds_the_norm_of_the_gradient(log: Interactions) -> None:
    free = gradient_norms(log, 1e9)
    bound = float(np.median(free))
    clipped = gradient_norms(log, bound)
    assert max(free) > 1.2 * bound
    assert max(clipped) <= bound * (1 + 1e-5)
    assert free[0] <= bound or clipped[0] == pytest.approx(bound, rel=1e-4)
    assert any(norm == pytest.approx(bound, rel=1e-4) for norm in clipped)
    assert min(clipped) < 0.999 * bound, "gradients within the bound are not stretched to it"


# --- one epoch


def test_the_kl_weight_rises_over_the_warm_up(log: Interactions, steps: Seen) -> None:
    """1/4, 2/4, 3/4 of kl_weight over three epochs of warm-up, then all of it; the steps are given that weight."""
    run = fitted(log, replace(EVERYTHING, epochs=5, kl_weight=0.8, kl_warmup=3))
    assert [line["kl_weight"] for line in run.metrics] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8])
    given = [batch.kl_weight for batch, _ in steps]
    assert given == pytest.approx([w for w in (0.2, 0.4, 0.6, 0.8, 0.8) for _ in ("item", "user")])


def test_without_warm_up_the_kl_weighs_in_full_from_the_start(log: Interactions) -> None:
    assert fitted(log, replace(EVERYTHING, epochs=1, kl_warmup=0)).metrics[0]["kl_weight"] == 1.0


def rates(log: Interactions, training: Training) -> tuple[list[float], float]:
    """Adam's rate at every step, and what it would be after the last."""
    used: list[float] = []
    with under_way(log, training) as fitting:
        fitting.optimiser.register_step_pre_hook(lambda o, *_: used.append(o.param_groups[0]["lr"]))
        train(fitting, keep_going)
        return used, fitting.learning_rate()


def test_the_learning_rate_falls_by_a_cosine_to_a_hundredth(log: Interactions) -> None:
    used, end = rates(log, replace(EVERYTHING, learning_rate=0.02, batch_size=20))
    share = np.arange(len(used)) / len(used)
    expected = 0.02 * (0.01 + 0.99 * (1 + np.cos(np.pi * share)) / 2)
    assert len(used) == 4 * (math.ceil(log.n_users / 20) + math.ceil(log.n_items / 20))
    np.testing.assert_allclose(used, expected, rtol=1e-12)
    assert used[0] == 0.02
    assert end == pytest.approx(0.0002, rel=1e-12)


def test_without_annealing_the_learning_rate_stays(log: Interactions) -> None:
    used, end = rates(log, replace(EVERYTHING, learning_rate=0.02, anneal=False))
    assert {*used, end} == {0.02}


@pytest.mark.parametrize(
    ("schedule", "phases"),
    [
        (ItemsThenUsers(), "item user"),
        (UsersThenItems(), "user item"),
        (ItemsThenUsers(passes=2), "item item user user"),
        (UsersThenItems(passes=3), "user user user item item item"),
    ],
)
def test_a_schedule_says_which_side_is_trained_when(
    log: Interactions, steps: Seen, schedule: Schedule, phases: str
) -> None:
    """Each phase goes over all rows of its side once, in an order of its own."""
    fitted(log, replace(EVERYTHING, epochs=2, schedule=schedule, batch_size=20))
    size = {"user": log.n_users, "item": log.n_items}
    expected = [side for side in phases.split() * 2 for _ in range(math.ceil(size[side] / 20))]
    assert [batch.side for batch, _ in steps] == expected
    orders: list[tuple[int, ...]] = []
    left = [batch for batch, _ in steps]
    for side in phases.split() * 2:
        phase, left = left[: math.ceil(size[side] / 20)], left[math.ceil(size[side] / 20) :]
        order = torch.cat([batch.ids for batch in phase]).tolist()
        assert sorted(order) == list(range(size[side]))
        orders.append(tuple(order))
    assert len(set(orders)) == len(orders)


@pytest.mark.parametrize("schedule", [ItemsThenUsers(passes=2), UsersThenItems()])
@pytest.mark.parametrize(("predictor_", "family_"), [(LogAdditive(), Poisson()), (Additive(), Bernoulli())])
def test_while_one_side_trains_the_other_holds_still(
    log: Interactions, monkeypatch: pytest.MonkeyPatch, schedule: Schedule, predictor_: Predictor, family_: Family
) -> None:
    """Encoder, effect and kept posterior of the passive side do not move; the active side's encoder does."""
    moved: list[tuple[str, set[str]]] = []
    original = loop.step

    def step(fitting: Fitting, batch: Batch) -> dict[str, Tensor]:
        before = copy_parameters(fitting)
        terms = original(fitting, batch)
        moved.append((batch.side, set(differing(before, copy_parameters(fitting)))))
        return terms

    monkeypatch.setattr(loop, "step", step)
    model = replace(MODEL, family=family_, predictor=predictor_, popularity=None, activity=None)
    seen = log.binarised() if family_.outcome is Outcome.CLICK else log
    with under_way(seen, replace(EVERYTHING, epochs=2, schedule=schedule, batch_size=20), model) as fitting:
        train(fitting, keep_going)
        encoders = {name for name, _ in fitting.guide.named_parameters()}
    assert [side for side, _ in groupby(moved, key=lambda step: step[0])] == list(dict.fromkeys(schedule.phases())) * 2
    for side, other in (("user", "item"), ("item", "user")):
        names = set().union(*(names for active, names in moved if active == side))
        assert {name for name in names if f".{other}." in f".{name}."} == set()
        assert names >= {f"guide.{name}" for name in encoders if name.startswith(f"encoder.{side}.")}
        assert "model.parts.level.intercept" in names
        assert (
            f"model.parts.{side}.{'effect' if predictor_.scale is Scale.RATE else 'predictor'}.log_values."
            in " ".join(name.rsplit(".", 1)[0] + "." for name in names)
        )


# --- metrics


def test_reconstruction_and_each_kl_stand_apart(long_run: Run) -> None:
    for line in long_run.metrics:
        for side, effect in (("user", "popularity"), ("item", "activity")):
            kls = {name: value for name, value in line.items() if name.startswith(f"{side}/kl_")}
            assert set(kls) == {f"{side}/kl_{name}" for name in ("user_factors", "item_factors", effect)}
            assert all(kl > 0 for kl in kls.values())
            expected = line[f"{side}/reconstruction"] - sum(kls.values())
            assert line[f"{side}/elbo"] == pytest.approx(expected, rel=1e-12)
        assert line["elbo"] == line["user/elbo"]
    assert [line["epoch"] for line in long_run.metrics] == list(range(30))


def test_metrics_are_means_over_the_phase_per_record(log: Interactions, steps: Seen) -> None:
    training = replace(EVERYTHING, epochs=1, batch_size=20, validation_fraction=0.1)
    lines: list[dict[str, Any]] = []
    with under_way(log, training) as fitting:
        train(fitting, lambda _, line: bool(lines.append(line)))
    records = len(log) - math.ceil(0.1 * len(log))
    values = [float(terms["value"]) for batch, terms in steps if batch.side == "user"]
    assert len(values) == math.ceil(log.n_users / 20)
    assert lines[0]["user/reconstruction"] == pytest.approx(np.mean(values) / records, rel=1e-5)


def test_a_kl_is_logged_without_its_warm_up_weight(log: Interactions) -> None:
    """The first phase trains items, so its KL of the user factors is that of the posterior kept at the start."""
    with under_way(log, replace(EVERYTHING, epochs=1, kl_warmup=5)) as fitting:
        lines: list[dict[str, Any]] = []
        for side in ("user", "item"):
            fitting.guide.refresh(fitting.model, side, fitting.rows[side])
        kept = fitting.guide.posterior["user"]
        mean, ratio = kept.mean.double().numpy(), (kept.sd.double().numpy() / MODEL.factor_scale) ** 2
        expected = 0.5 * (ratio - 1 - np.log(ratio) + (mean / MODEL.factor_scale) ** 2).sum() / len(log)
        train(fitting, lambda _, line: bool(lines.append(line)))
    assert lines[0]["kl_weight"] == pytest.approx(1 / 6)
    assert lines[0]["item/kl_user_factors"] == pytest.approx(expected, rel=1e-4)


def test_the_elbo_improves_over_training(long_run: Run) -> None:
    for name in ("user/elbo", "item/elbo"):
        elbo = np.array([line[name] for line in long_run.metrics])
        thirds = elbo.reshape(3, 10).mean(1)
        assert thirds[1] > thirds[0] + 0.2
        assert thirds[2] > thirds[1]


def test_metrics_are_written_as_training_goes(stopped: tuple[Run, Path]) -> None:
    run, folder = stopped
    lines = pd.read_json(folder / "metrics.jsonl", lines=True, precise_float=True)
    assert lines["elbo"].tolist() == [line["elbo"] for line in run.metrics]
    assert lines["validation"].tolist() == [line["validation"] for line in run.metrics]


# --- validation and early stopping


def test_training_stops_when_patience_is_over(stopped: tuple[Run, Path]) -> None:
    run, _ = stopped
    scores = [line["validation"] for line in run.metrics]
    best = int(np.argmax(scores[2:])) + 2  # epochs of the warm-up do not count
    assert len(scores) == best + 1 + WATCHED.patience < WATCHED.epochs
    assert best > 2


def test_the_parameters_kept_are_those_of_the_best_epoch(
    log: Interactions, stopped: tuple[Run, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file of the best epoch holds is what the run has, and what a fit holds right after that epoch."""
    run, folder = stopped
    stored, notes = read_tensors(folder / "checkpoints" / "best.safetensors")
    scores = [line["validation"] for line in run.metrics]
    assert notes["epoch"] == int(np.argmax(scores[2:])) + 3
    named = {f"model.{k}": v for k, v in run.model.named_parameters()}
    named |= {f"guide.{k}": v for k, v in run.guide.named_parameters()}
    # The level is anchored once more when training ends.
    assert set(differing({k: stored[k] for k in named}, named)) <= {
        "model.parts.level.intercept"
    }  # anchored at the end
    after_best: dict[str, Tensor] = {}
    with under_way(log, WATCHED) as fitting:

        def after_epoch(fitting: Fitting, metrics: dict[str, Any]) -> bool:
            after_best.update(copy_parameters(fitting))
            return fitting.state.epoch == notes["epoch"]

        train(fitting, after_epoch)
        assert fitting.state.epoch == notes["epoch"]
    assert differing(after_best, stored) == []
    last, _ = read_tensors(folder / "checkpoints" / "last.safetensors")
    # The level is anchored once more when training ends.
    assert set(differing({k: last[k] for k in named}, named)) == set(named)


def test_the_finishing_epochs_take_the_held_out_cells_in(log: Interactions) -> None:
    """A fit of which one held-out cell is another count: the same until the finishing epochs, another then."""
    cell = int(held_out_cells(len(log), WATCHED.validation_fraction, 0)[3])  # type: ignore[index]
    value = log.value.copy()
    value[cell] += 40
    training = replace(WATCHED, epochs=4)
    one, other = fitted(log, training), fitted(replace(log, value=value), training)
    finishing = [bool(line.get("finishing")) for line in one.metrics]
    assert finishing == [False] * 4 + [True] * 2
    assert one.metrics[:4] == other.metrics[:4]
    assert one.metrics[4]["elbo"] - other.metrics[4]["elbo"] > 0.05
    item = int(log.item[cell])
    popularity = [float(run.posterior.popularity.mean[item]) for run in (one, other)]  # type: ignore[union-attr]
    assert popularity[1] > 1.3 * popularity[0]


def test_a_fitting_cell_does_change_the_fit(log: Interactions) -> None:
    """The counterpart of the test above, so that it cannot pass by looking at nothing."""
    held_out = held_out_cells(len(log), WATCHED.validation_fraction, 0)
    cell = next(i for i in range(len(log)) if i not in set(held_out.tolist()))  # type: ignore[union-attr]
    value = log.value.copy()
    value[cell] += 40
    training = replace(WATCHED, epochs=1)
    one, other = fitted(log, training), fitted(replace(log, value=value), training)
    assert one.metrics[0]["elbo"] != other.metrics[0]["elbo"]


def test_the_finishing_epochs_go_at_a_third_of_the_rate_and_full_kl(log: Interactions) -> None:
    closing = fitted(log, replace(WATCHED, epochs=1)).metrics[1:]
    assert closing[0]["learning_rate"] == pytest.approx(0.3 * WATCHED.learning_rate)
    assert [line["kl_weight"] for line in closing] == [1.0, 1.0]
    assert [line["epoch"] for line in closing] == [1, 2]


def test_a_fraction_of_zero_holds_nothing_out(log: Interactions, steps: Seen) -> None:
    run = fitted(log, replace(EVERYTHING, epochs=2))
    assert len(run.metrics) == 2
    assert not any({"validation", "finishing"} & set(line) for line in run.metrics)
    seen = sum(float(batch.rows.trials.sum()) for batch, _ in steps if batch.side == "user")
    assert seen == 2 * len(log)


def test_held_out_cells_are_a_share_of_the_log_and_depend_on_the_seed() -> None:
    first, again, other = (held_out_cells(1000, 0.05, seed) for seed in (1, 1, 2))
    assert first is not None
    assert len(set(first.tolist())) == 50
    assert first.min() >= 0
    assert first.max() < 1000
    assert np.array_equal(first, again)  # type: ignore[arg-type]
    assert not np.array_equal(first, other)  # type: ignore[arg-type]
    assert held_out_cells(99, 0.05, 1) is None
    assert held_out_cells(1000, 0.0, 1) is None


# --- objectives


@pytest.mark.parametrize(
    ("predictor_", "family_"), [(LogAdditive(), Poisson()), (Additive(), Bernoulli()), (Plain(), Poisson())]
)
def test_maximum_a_posteriori_has_no_spread(log: Interactions, predictor_: Predictor, family_: Family) -> None:
    model = replace(MODEL, family=family_, predictor=predictor_, popularity=None, activity=None)
    seen = log.binarised() if family_.outcome is Outcome.CLICK else log
    posterior = fitted(seen, replace(EVERYTHING, objective=MAP(), epochs=3), model).posterior
    assert float(posterior.user_sd.abs().max()) == float(posterior.item_sd.abs().max()) == 0.0
    assert float(posterior.user_mean.std()) > 1e-3
    if isinstance(predictor_, Additive):
        assert isinstance(posterior.popularity, dist.Delta)
        assert float(posterior.popularity.v.std()) > 1e-3


def test_both_objectives_reach_nearly_the_same_elbo(log: Interactions, long_run: Run) -> None:
    """Per record, averaged over the last five epochs: they differ by the noise of the sampled divergences."""
    sampled = fitted(log, replace(long_run.training, objective=MonteCarlo(particles=2)))
    assert isinstance(long_run.training.objective, Analytic)
    ends = [np.mean([line["elbo"] for line in run.metrics[-5:]]) for run in (long_run, sampled)]
    gain = ends[0] - long_run.metrics[0]["elbo"]
    assert gain > 1.0
    assert abs(ends[0] - ends[1]) < 0.05 * gain
    assert sampled.metrics[3]["elbo"] != long_run.metrics[3]["elbo"]


# --- recovery


@pytest.fixture(scope="module")
def recovered() -> tuple[Run, np.ndarray, float]:
    """A fit of a world with popularity of shape 1.5: the run, the true popularity and the true shape."""
    world = FrailtyWorld(90, 60, factors=2, affinity_sd=0.6, popularity_shape=1.5, mean_count=1.0, features=False)
    drawn = world.simulate(3)
    run = fitted(drawn.train, Training(epochs=50, learning_rate=0.02, validation_fraction=0.0))
    truth = drawn.truth.aligned(run.posterior.users, run.posterior.items)
    return run, truth.popularity, world.popularity_shape


def test_log_popularity_is_recovered(recovered: tuple[Run, np.ndarray, float]) -> None:
    run, truth, _ = recovered
    law = run.posterior.popularity
    assert isinstance(law, dist.Gamma)
    estimate = torch.digamma(law.concentration) - law.rate.log()
    assert np.corrcoef(estimate.numpy(), np.log(truth))[0, 1] > 0.9


def test_the_shape_of_popularity_is_recovered(recovered: tuple[Run, np.ndarray, float]) -> None:
    """From a start at 1.0."""
    run, _, shape = recovered
    learned = float(run.posterior.population.concentration)  # type: ignore[union-attr]
    assert shape / 1.6 < learned < 1.6 * shape
    assert learned > 1.1


# --- every pair


def suitable(log: Interactions, family: Family) -> Interactions:
    """The log as the family takes it: counts, clicks with true negatives, or ratings."""
    if family.outcome is Outcome.COUNT:
        value = plausible(family, torch.as_tensor(log.value), torch.as_tensor(log.trials)).numpy()
        return replace(log, value=value)
    if family.outcome is Outcome.CLICK:
        return replace(log, value=(log.value > np.median(log.value)).astype(float), missing=Unobserved())
    noise = np.random.default_rng(0).normal(size=len(log))
    value = np.log1p(log.value) + 0.1 * noise
    value = plausible(family, torch.as_tensor(value), torch.as_tensor(log.trials)).numpy()
    return replace(log, value=value, missing=Unobserved())


def test_every_pair_fits_and_scores_every_pair(log: Interactions, predictor: Predictor, family: Family) -> None:
    run = fitted(suitable(log, family), Training(epochs=3, finish_epochs=1), BilateralModel(2, family, predictor))
    assert len(run.metrics) == 4
    assert all(math.isfinite(value) for line in run.metrics for value in line.values())
    assert all(bool(torch.isfinite(value).all()) for value in numbers(run.posterior).values())
    pairs = pd.MultiIndex.from_product([log.users, log.items], names=["user_id", "item_id"]).to_frame(index=False)
    scored = run.score(pairs)[["mean", "sd", "lower", "upper"]].to_numpy()
    assert np.isfinite(scored).all()
    assert scored[:, 0].std() > 1e-4
    assert (scored[:, 2] <= scored[:, 3]).all()
    if family.outcome is Outcome.CLICK:
        assert (scored[:, 0] > 0).all()
        assert (scored[:, 0] < 1).all()


@pytest.mark.parametrize("predictor_", [LogAdditive(), Additive(), Plain()], ids=lambda p: p.name)
@pytest.mark.parametrize("missing", [Zero(), Unobserved()], ids=["zero", "unobserved"])
def test_counts_with_a_very_long_tail_stay_finite(
    log: Interactions, predictor_: Predictor, missing: Zero | Unobserved
) -> None:
    value = log.value.copy()
    value[::50] = np.geomspace(100, LARGEST_PLAY_COUNT, len(value[::50])).round()
    assert value.max() == LARGEST_PLAY_COUNT
    long_tail = replace(log, value=value, missing=missing)
    run = fitted(long_tail, Training(epochs=3, finish_epochs=1), BilateralModel(2, Poisson(), predictor_))
    assert all(math.isfinite(line["elbo"]) for line in run.metrics)
    assert all(bool(torch.isfinite(value).all()) for value in numbers(run.posterior).values())
    scored = run.score(long_tail.to_frame()[["user_id", "item_id"]])[["mean", "sd", "lower", "upper"]].to_numpy()
    assert np.isfinite(scored).all()


def test_a_device_that_is_not_there_is_refused(log: Interactions) -> None:
    with pytest.raises(InputError, match="Device 'meta' is not available"):
        fitted(log, EVERYTHING, device="meta")
