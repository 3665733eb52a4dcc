"""The report: numbers behind the pictures by hand, and a page that stands alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from pyrorec.data import InputError, Interactions, Unobserved, Weighted
from pyrorec.data.truth import Truth
from pyrorec.evaluation import reliability_table
from pyrorec.inference.evaluate import evaluate
from pyrorec.inference.fit import fit
from pyrorec.inference.intervention import Deconfound, Observe
from pyrorec.inference.objective import MAP
from pyrorec.inference.run import Run
from pyrorec.inference.settings import Context, Training
from pyrorec.models.bilateral import BilateralModel
from pyrorec.models.families import Cloglog, Gaussian, Outcome
from pyrorec.models.predictors import Additive, Plain
from pyrorec.report import (
    active_factors,
    calibration,
    checks,
    loss_curves,
    numbers,
    page,
    popularity_against_counts,
    popularity_under_interventions,
    recovered_against_true,
    style,
    write_report,
)
from pyrorec.report.html import number, table
from pyrorec.report.meanings import meaning
from pyrorec.simulation import FrailtyWorld

USERS, ITEMS, K = 50, 30, 3
TRAINING = Training(epochs=4, kl_warmup=1, validate_every=2)


def quick(log: Interactions, training: Training = TRAINING, **parts: object) -> Run:
    spec = BilateralModel(factors=K, hidden=(8,), **parts)  # type: ignore[arg-type]
    return fit(spec, log, seed=0, training=training, context=Context(progress=False))


@pytest.fixture(scope="module")
def world() -> tuple[Interactions, Interactions, Truth]:
    drawn = FrailtyWorld(users=USERS, items=ITEMS, mean_count=1.0, random_per_user=10).simulate(1)
    return drawn.train, drawn.test, drawn.truth


@pytest.fixture(scope="module")
def counts(world: tuple[Interactions, Interactions, Truth]) -> Run:
    return quick(world[0])


@pytest.fixture(scope="module")
def clicks(world: tuple[Interactions, Interactions, Truth]) -> Run:
    return quick(world[1], family=Cloglog())


@pytest.fixture(scope="module")
def ratings(world: tuple[Interactions, Interactions, Truth]) -> Run:
    """Real values under whole-number ids."""
    log = replace(world[0], value=np.log(world[0].value) - 0.25, missing=Unobserved())
    log = replace(log, users=pd.Index(range(100, 100 + log.n_users)), items=pd.Index(range(log.n_items)))
    log = replace(log, user_features=None, item_features=None)
    return quick(log, family=Gaussian(), predictor=Additive())


@pytest.fixture(scope="module")
def plain(world: tuple[Interactions, Interactions, Truth]) -> Run:
    return quick(world[0], predictor=Plain())


@pytest.fixture(autouse=True)
def coarse_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are read here, not looked at."""
    monkeypatch.setattr(style, "DPI", 40)


def points(figure: Figure, label: str) -> np.ndarray:
    """Coordinates (n, 2) of the line whose label starts so, bars included."""
    lines = [line for axes in figure.axes for line in axes.lines]
    named = {str(line.get_label()): line for line in lines}
    for axes in figure.axes:
        named |= {str(c.get_label()): c[0] for c in axes.containers if type(c).__name__ == "ErrorbarContainer"}
    (found,) = (line for name, line in named.items() if name.startswith(label))
    return np.asarray(found.get_xydata())


class Checked(HTMLParser):
    """Every opened tag is closed in order; sources and links are collected."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def written(run: Run, path: Path, **given: object) -> str:
    write_report(run, path, **given)  # type: ignore[arg-type]
    text = path.read_text(encoding="utf-8")
    found = Checked(text)
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in found.sources)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    return text


def test_the_page_stands_alone_and_holds_the_evaluation(
    counts: Run, world: tuple[Interactions, Interactions, Truth], tmp_path: Path
) -> None:
    _, test, truth = world
    evaluation = evaluate(counts, test, at=(5, 10))
    evaluation.attrs["notes"] = ["3 cells < 4 were left out."]
    diagnostics = pd.DataFrame({"khat": [0.12345678]}, index=["u007"])
    before = dict(matplotlib.rcParams)
    text = written(
        counts, tmp_path / "new" / "report.html",
        test=test, evaluation=evaluation, truth=truth, diagnostics=diagnostics,
    )  # fmt: skip
    assert dict(matplotlib.rcParams) == before
    rows = dict(re.findall(r"<tr><td>([^<]+)</td>((?:<td class=\"number\">[^<]+</td>)+)<td>", text))
    for metric in evaluation.columns:
        shown = re.findall(r">([^<]+)</td>", rows[metric])
        for cell, value in zip(shown, evaluation[metric], strict=True):
            assert (cell == "–") if np.isnan(value) else float(cell) == pytest.approx(value, rel=5.1e-4)
        assert meaning(metric)
    assert "3 cells &lt; 4 were left out." in text
    assert "0.1235" in text
    assert text.count("data:image/png;base64,") == 6
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["report.html"]


def test_ids_are_escaped(world: tuple[Interactions, Interactions, Truth], tmp_path: Path) -> None:
    train, test, _ = world
    users = pd.Index([f'<script>alert("{n}")</script>' for n in range(train.n_users)])
    items = pd.Index([f"<img src=x onerror=$1$ & {n}>" for n in range(train.n_items)])
    log = replace(train, users=users, items=items, user_features=None, item_features=None)
    held_out = replace(test, users=users, items=items, user_features=None, item_features=None)
    run = quick(log)
    evaluation = evaluate(run, held_out, at=(10,)).rename(index={"EASE": "<b>$EASE"})
    text = written(run, tmp_path / "report.html", test=held_out, evaluation=evaluation)
    assert "&lt;script&gt;alert(&quot;" in text
    assert "&lt;img src=x onerror=$1$ &amp; " in text
    assert "&lt;b&gt;$EASE" in text
    assert "<script" not in text
    assert "<img src=x" not in text


def test_recommendations_stand_side_by_side(counts: Run) -> None:
    text = page.recommended(counts)
    user = counts.posterior.users[int(counts.log.user_counts.argmax())]
    part = text[text.index(f"User {user},") :]
    for intervention in (Observe(), Deconfound()):
        best = counts.recommend([user], 1, intervention).iloc[0]
        shown = f'<td>1</td><td>{best.item_id}</td><td class="number">{number(best.score)}</td>'
        assert f"{shown}<td>{number(best.lower)} to {number(best.upper)}</td>" in part


def test_without_popularity_each_gap_has_its_reason(
    plain: Run, world: tuple[Interactions, Interactions, Truth], tmp_path: Path
) -> None:
    _, test, truth = world
    text = written(plain, tmp_path / "report.html", test=test, truth=truth)
    assert text.count("The model holds no popularity") == 2
    assert "No evaluation was given" in text
    assert "Deconfound cannot be asked" in text
    with pytest.raises(InputError, match="no popularity"):
        popularity_against_counts(plain)


def test_ratings_and_clicks_make_a_page(
    ratings: Run, clicks: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = written(ratings, tmp_path / "ratings.html", test=ratings.log, evaluation=evaluate(ratings, ratings.log))
    assert "unobserved: they enter no likelihood" in text
    assert "Train log, not a test: The test log holds" in text
    assert "expected rating" in text
    monkeypatch.setattr("pyrorec.report.html.png", lambda figure: b"")  # drawn once is enough
    text = written(clicks, tmp_path / "clicks.html", test=clicks.log, evaluation=evaluate(clicks, clicks.log))
    assert "Test log: cells with true negatives" in text


def test_calibration_points_are_the_reliability_table(clicks: Run) -> None:
    log = clicks.log
    figure = calibration(clicks, log)
    for name, intervention in (("observe", Observe()), ("deconfound", Deconfound())):
        p = clicks.score(log.to_frame()[["user_id", "item_id"]], intervention)["mean"].to_numpy()
        expected = reliability_table(p, log.value, log.trials)
        assert points(figure, name) == pytest.approx(expected[["predicted", "observed"]].to_numpy(), rel=1e-6)
        error = np.average((expected.predicted - expected.observed).abs(), weights=expected.trials)
        labels = [text.get_text() for text in figure.legends[0].texts]
        assert f"{name}: calibration error {error:.3f}" in labels


def test_popularity_points_are_posterior_means_and_counts(
    counts: Run, ratings: Run, world: tuple[Interactions, Interactions, Truth]
) -> None:
    law = counts.posterior.popularity
    assert law is not None
    found = points(popularity_against_counts(counts), "posterior mean")
    totals = world[0].to_frame().groupby("item_id").value.sum().loc[counts.posterior.items]
    assert found[:, 0] == pytest.approx(totals.to_numpy())
    assert found[:, 1] == pytest.approx((law.concentration / law.rate).numpy(), rel=1e-6)
    number_of_ratings = numbers.popularity_table(ratings)["count"]
    assert number_of_ratings.tolist() == np.bincount(ratings.log.item, minlength=ratings.log.n_items).tolist()


def test_recovery_counts_what_the_intervals_hold(
    counts: Run, ratings: Run, world: tuple[Interactions, Interactions, Truth]
) -> None:
    mean = counts.posterior.effects("item")["mean"].to_numpy().astype(float)
    missed = len(mean) // 5
    true = mean.copy()
    true[:missed] *= 1000.0
    truth = replace(world[2], popularity=true)
    shuffled = np.random.default_rng(0).permutation(len(mean))
    figure = recovered_against_true(counts, truth.take(np.arange(len(truth.users)), shuffled))
    held = round(100 * (1 - missed / len(mean)))
    assert figure.axes[0].get_title(loc="left").startswith(f"90 % intervals hold {held} ±")
    assert points(figure, "posterior mean") == pytest.approx(np.column_stack([true, mean]))
    doubled = numbers.recovery_table(counts, replace(truth, popularity=2 * mean))
    assert numbers.level_shift(doubled, rate=True) == pytest.approx(2.0)
    relabelled = replace(world[2], users=ratings.posterior.users, items=ratings.posterior.items)
    standardised = numbers.recovery_table(ratings, relabelled).true
    assert (standardised.mean(), standardised.std(ddof=0)) == pytest.approx((0.0, 1.0))


def test_train_calibration_covers_the_log(counts: Run, world: tuple[Interactions, Interactions, Truth]) -> None:
    train = world[0]
    cells = checks.checked_cells(counts)
    assert len(cells) == train.n_users * train.n_items
    assert (cells.observed * cells.weight).sum() == train.value.sum()
    sums = checks.item_sums(cells, Outcome.COUNT)
    assert sums.observed.to_numpy() == pytest.approx(train.item_totals)
    pairs = pd.DataFrame({"user_id": train.users[3], "item_id": train.items})
    one_user = cells.predicted.to_numpy().reshape(train.shape)[3]
    assert one_user == pytest.approx(counts.score(pairs)["mean"].to_numpy(), rel=1e-6)


def test_missing_cells_weigh_what_the_log_says(counts: Run, world: tuple[Interactions, Interactions, Truth]) -> None:
    train = world[0]
    weighted = checks.checked_cells(replace(counts, log=train.with_missing(Weighted(0.25))))
    assert weighted.weight.sum() == len(train) + 0.25 * (train.n_users * train.n_items - len(train))
    seen = checks.checked_cells(replace(counts, log=train.with_missing(Unobserved())))
    assert sorted(seen.observed) == sorted(train.value)


def test_large_logs_are_sampled(counts: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers, "RANKED_CELLS", 7 * counts.log.n_items + 1)
    monkeypatch.setattr(checks, "CHECKED_CELLS", 5 * counts.log.n_items)
    users, lists = numbers.ranked_lists(counts, 4)
    assert len(users) == 7
    assert lists["observe"].shape == (7, 4)
    assert len(checks.checked_cells(counts)) == 5 * counts.log.n_items
    assert "7 users, a sample of" in popularity_under_interventions(counts).get_label()


def test_groups_of_cells_by_hand() -> None:
    cells = pd.DataFrame(
        {
            "item": [0, 0, 1, 1],
            "weight": [1.0, 3.0, 2.0, 2.0],
            "predicted": [0.1, 0.3, 0.8, 0.6],
            "observed": [1.0, 0.0, 1.0, 0.5],
        }
    )
    groups = checks.by_prediction(cells, bins=2)
    # Weights 1 and 3 make the lower half, 2 and 2 the upper.
    assert groups.predicted.tolist() == pytest.approx([0.25, 0.7])
    assert groups.observed.tolist() == pytest.approx([0.25, 0.75])
    # sqrt(1 x .75^2 + 9 x .25^2) / 4 and sqrt(4 x .25^2 + 4 x .25^2) / 4.
    assert groups.se.tolist() == pytest.approx([np.sqrt(1.125) / 4, np.sqrt(0.5) / 4])
    assert checks.item_sums(cells, Outcome.CLICK).observed.tolist() == [1.0, 3.0]
    assert checks.item_sums(cells, Outcome.RATING).predicted.tolist() == pytest.approx([0.25, 0.7])


def test_bias_of_the_lists_agrees_with_evaluate(counts: Run, world: tuple[Interactions, Interactions, Truth]) -> None:
    # A test log in which everybody has a positive makes evaluate judge all users, as the run alone does.
    everybody = np.arange(counts.log.n_users)
    held_out = replace(
        world[1], user=everybody, item=np.zeros_like(everybody), value=np.ones(len(everybody)),
        trials=np.ones(len(everybody)), timestamp=None, exposure=None,
    )  # fmt: skip
    evaluation = evaluate(counts, held_out, at=(10,))
    own = numbers.bias_table(counts, *numbers.ranked_lists(counts, 10))
    pd.testing.assert_frame_equal(own, evaluation.loc[own.index, own.columns], check_names=False)
    axes = popularity_under_interventions(counts, evaluation).axes[0]
    drawn = [line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 1]
    assert drawn == pytest.approx(evaluation["arp@10"].tolist())


def test_the_kept_epoch_is_marked(counts: Run) -> None:
    scores = {0: 0.9, 2: 0.3, 3: 0.5}
    lines = [line | {"validation": scores.get(n)} for n, line in enumerate(counts.metrics)]
    lines = [{k: v for k, v in line.items() if v is not None} for line in lines]
    assert replace(counts, metrics=lines).best_epoch == 3, "epoch 0 belongs to the warm-up"
    figure = loss_curves(replace(counts, metrics=lines))
    assert set(points(figure, "epoch kept")[:, 0]) == {3.0}
    assert points(figure, "popularity, user side")[:, 1] == pytest.approx(
        [line["user/kl_popularity"] for line in counts.metrics]
    )
    unwatched = [{k: v for k, v in line.items() if k != "validation"} for line in lines]
    assert replace(counts, metrics=unwatched).best_epoch is None
    assert "last epoch was kept" in loss_curves(replace(counts, metrics=unwatched)).get_label()


def test_map_has_its_pictures(world: tuple[Interactions, Interactions, Truth]) -> None:
    run = quick(world[0], Training(objective=MAP(), epochs=2, validation_fraction=0))
    curves = loss_curves(run)
    assert "Nothing was watched" in curves.get_label()
    assert curves.axes[2].get_title(loc="left") == "Minus log prior (MAP)"
    assert numbers.factor_table(run).user_spread.tolist() == [0.0] * K
    assert "% of the true values" in recovered_against_true(run, world[2]).axes[0].get_title(loc="left")


def test_factors_in_use_by_hand(counts: Run) -> None:
    posterior = counts.posterior
    prior = counts.spec.factor_scale
    users, items = len(posterior.users), len(posterior.items)
    sign = torch.tensor([1.0, -1.0]).repeat(users)[:users]
    sign = sign - sign.mean()
    user_mean = torch.stack([torch.full((users,), 5.0), 2 * prior * sign, prior * sign], 1)
    item_mean = torch.stack([torch.ones(items), torch.full((items,), 3.0), torch.ones(items)], 1)
    made = replace(posterior, user_mean=user_mean, item_mean=item_mean, user_sd=torch.full((users, K), prior / 2))
    found = numbers.factor_table(replace(counts, posterior=made))
    variance = float(sign.var(correction=0))
    assert found.index.tolist() == [1, 2, 0]
    assert found.user_means.tolist() == pytest.approx([4 * variance, variance, 0.0], abs=1e-6)
    assert found.user_spread.tolist() == pytest.approx([0.25] * 3)
    assert found.item_means.tolist() == pytest.approx([0.0] * 3, abs=1e-6)
    # Variance of affinity: 4 x 9 against 1 x 1.
    assert found.share.tolist() == pytest.approx([36 / 37, 1 / 37, 0.0], abs=1e-6)
    assert "0 of 3 factors are active" in active_factors(replace(counts, posterior=made)).get_label()


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0361724, "0.03617"), (191.896, "191.9"), (float("nan"), "–"), (1234567.8, "1,234,568"), (0.0, "0")],
)
def test_numbers_have_four_digits(value: float, shown: str) -> None:
    assert number(value) == shown


def test_tables_escape_and_align() -> None:
    made = table(["<a>", "b"], [["x & y", 1.5]])
    assert '<th>&lt;a&gt;</th><th class="number">b</th>' in made
    assert '<td>x &amp; y</td><td class="number">1.5</td>' in made


PICTURES = (
    loss_curves,
    popularity_against_counts,
    calibration,
    popularity_under_interventions,
    active_factors,
)


def test_the_same_run_gives_the_same_bytes(counts: Run) -> None:
    """One picture stands for all: one writer makes them."""
    first, second = (style.png(popularity_under_interventions(counts)) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("make", PICTURES)
def test_every_picture_names_its_axes_and_says_what_is_seen(counts: Run, make: Callable[[Run], Figure]) -> None:
    figure = make(counts)
    assert len(str(figure.get_label())) > 100
    for axes in figure.axes:
        assert axes.get_xlabel() or axes.get_title(loc="left")
        assert axes.get_ylabel() or axes.get_title(loc="left") or axes.get_shared_y_axes().get_siblings(axes)[1:]
