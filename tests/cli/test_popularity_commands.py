"""The command line on popularity models: from fit to report, what is refused, and the corrected base rate."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import left_empty
from harness import pyrorec, refused, snapshot, succeeds

from pyrorec.simulation.record_world import RecordWorld

QUICK = ("--epochs", "3", "--factors", "2", "--validation-fraction", "0", "--quiet")
RANKED = ["user_id", "item_id", "rank", "score", "sd", "lower", "upper"]


pytestmark = pytest.mark.usefixtures("without_pictures")


@pytest.fixture(scope="module")
def shared_files(tmp_path_factory: pytest.TempPathFactory, without_pictures: None) -> Path:
    """Logs of impressions with and without times and propensities, of counts and of clicks alone, and a run."""
    folder = tmp_path_factory.mktemp("popularity")
    log = RecordWorld(users=40, items=25, records=1_500).simulate(2).log
    rng = np.random.default_rng(0)
    cells = log.to_frame()
    each = cells.loc[cells.index.repeat(cells["trials"].astype(int)), ["user_id", "item_id"]]
    place = cells.groupby(level=0).ngroup().loc[each.index]
    number = each.groupby(level=0).cumcount()
    each = each.assign(value=(number.to_numpy() < cells["value"].loc[place.index].to_numpy()).astype(int))
    each = each.assign(timestamp=rng.integers(1_000, 5_000, len(each)), propensity=rng.uniform(0.2, 1, len(each)))
    each = each.sample(frac=1.0, random_state=1).reset_index(drop=True)
    each.to_csv(folder / "log.csv", index=False)
    each[["user_id", "item_id", "value"]].to_csv(folder / "bare.csv", index=False)
    clicked = each[each["value"] == 1].drop_duplicates(["user_id", "item_id"])
    clicked[["user_id", "item_id", "value", "timestamp"]].to_csv(folder / "clicks.csv", index=False)
    each.assign(value=rng.poisson(2.0, len(each)) + 1).to_csv(folder / "counts.csv", index=False)
    pairs = rng.choice(40 * 25, 200, replace=False)
    random = pd.DataFrame(
        {"user_id": pairs // 25, "item_id": pairs % 25, "value": (rng.random(200) < 0.15).astype(int)}
    )
    random.to_csv(folder / "random.csv", index=False)
    assert log.user_features is not None
    log.user_features.rename_axis("user_id").reset_index().to_csv(folder / "users.csv", index=False)
    succeeds(
        "fit", folder / "log.csv", "--model", "popularity", "--user-features", folder / "users.csv",
        "--out", folder / "run", *QUICK,
    )  # fmt: skip
    return folder


@pytest.fixture
def place(shared_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own as the working folder, with the shared logs in it; `run` leads to the shared run."""
    for name in ("log.csv", "bare.csv", "clicks.csv", "counts.csv", "random.csv", "users.csv", "run"):
        (tmp_path / name).symlink_to(shared_files / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settings(run: str) -> dict:
    return tomllib.loads((Path(run) / "config.toml").read_text(encoding="utf-8"))


# --- from fit to report


def test_impressions_are_fitted_by_the_rule_for_them(place: Path) -> None:
    """Bernoulli and additive, missing cells unobserved, the prior from the exposure counts; and it is said."""
    model = settings("run")["model"]
    assert model["kind"] == "popularity"
    parts = ("family", "predictor", "popularity", "posterior", "affinity", "sharing", "source")
    assert [model[part]["name"] for part in parts] == [
        "bernoulli", "additive", "normal", "normal", "factorisation-machine", "item", "exposure",
    ]  # fmt: skip
    assert (model["affinity"]["factors"], settings("run")["training"]["objective"]["name"]) == (2, "expected")
    assert settings("run")["reason"].endswith("missing cells unobserved, prior exposure")


def test_every_flag_of_the_popularity_model_ends_where_it_belongs(place: Path) -> None:
    said = succeeds(
        "fit", "log.csv", "--out", "own", "--model", "popularity", "--predictor", "log-additive", "--family", "cloglog",
        "--prior", "exponential", "--posterior", "weibull", "--affinity", "dot", "--sharing", "interaction",
        "--prior-source", "learned", "--amortised", "--affinity-first", "--inverse-propensity", "--negatives", "2.5",
        "--objective", "monte-carlo", "--seed", "4", "--repeats", "apart", *QUICK,
    )  # fmt: skip
    assert "model: family cloglog, predictor log-additive, values, missing cells unobserved, prior learned" in said.out
    model = settings("own")["model"]
    names = {part: model[part]["name"] for part in ("popularity", "posterior", "affinity", "sharing", "source")}
    assert names == {
        "popularity": "exponential", "posterior": "weibull", "affinity": "dot", "sharing": "interaction",
        "source": "learned",
    }  # fmt: skip
    switches = ("amortised", "affinity_first", "inverse_propensity")
    assert [model[switch] for switch in switches] == [True, True, True]
    assert (model["negatives"], settings("own")["training"]["objective"]["name"]) == (2.5, "monte-carlo")
    succeeds("fit", "--out", "again", "log.csv", "--config", "own/config.toml", "--quiet")
    for name in ("weights.safetensors", "metrics.jsonl", "config.toml"):
        assert (Path("again") / name).read_bytes() == (Path("own") / name).read_bytes(), name
    off = ("--free-form", "--jointly", "--unweighted", "--sharing", "item", "--epochs", "1")
    succeeds("fit", "--out", "off", "log.csv", "--config", "own/config.toml", "--quiet", *off)
    model = settings("off")["model"]
    assert [model[switch] for switch in switches] == [False, False, False]
    assert (model["sharing"]["name"], model["posterior"]["name"]) == ("item", "weibull")


@pytest.mark.parametrize(
    "flags",
    [
        ("run",),
        ("log.csv", "--predictor", "odds", "--posterior", "lognormal", "--sharing", "period", "--repeats", "apart"),
        (
            "log.csv",
            "--predictor",
            "product-saturation",
            "--prior",
            "lognormal",
            "--prior-source",
            "earlier",
            "--repeats",
            "apart",
        ),
        ("counts.csv", "--prior", "gamma"),
        ("clicks.csv", "--negatives", "1", "--affinity", "dot"),
    ],
    ids=lambda flags: " ".join(flags),
)
def test_every_command_works_on_a_popularity_run(place: Path, flags: tuple[str, ...]) -> None:
    """And says nothing on standard error."""
    run, log = "run", "log.csv"
    if flags[0] != "run":
        run, log = "own", flags[0]
        with left_empty("draws"):
            succeeds("fit", "--model", "popularity", "--out", "own", *flags, *QUICK)
    for name, extra in (("observe", ()), ("deconfound", ()), ("set", ("--popularity", "1.5")), ("temper", ())):
        succeeds("recommend", run, "--k", 3, "--intervention", name, *extra, "--output", "best.csv")
        best = pd.read_csv("best.csv")
        assert list(best.columns) == RANKED
        assert np.isfinite(best[RANKED[3:]]).all(axis=None)
        assert (best["lower"] <= best["upper"]).all()
    for reading in ("predictive", "quantile", "thompson"):
        succeeds("recommend", run, "--k", 2, "--reading", reading, "--output", "best.csv")
        assert pd.read_csv("best.csv")["user_id"].nunique() > 30
    succeeds("score", run, log, "--output", "scored.csv")
    scored = pd.read_csv("scored.csv")
    assert np.isfinite(scored[["mean", "sd", "lower", "upper"]]).all(axis=None)
    if log == "log.csv":
        assert scored["mean"].mean() == pytest.approx(scored["value"].mean(), abs=0.15)
    succeeds("evaluate", run, "random.csv" if log != "counts.csv" else log, "--at", 5, "--output", "judged.csv")
    judged = list(pd.read_csv("judged.csv")["model"])
    half = [] if "product-saturation" in flags else ["quality 0.5"]  # a product has no offset to share
    assert judged[: 3 + len(half)] == ["observe", "deconfound", *half, "temper 0.5"]
    said = succeeds("diagnose", run).out
    assert len(re.findall(r"^\[(good|doubtful|bad)\] ", said, re.MULTILINE)) == 7
    if "odds" in flags:
        before = snapshot(Path("own/versions"))
        succeeds("report", "own")
        assert snapshot(Path("own/versions")) == before
    page = (Path(run) / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure>") >= 3
    assert settings(run)["reason"] in page


# --- the base rate


def test_recalibrate_adds_a_version_that_expects_the_clicks_of_the_sample(place: Path) -> None:
    succeeds("fit", "log.csv", "--model", "popularity", "--out", "own", *QUICK)
    said = succeeds("recalibrate", "own", "random.csv", "--intervention", "deconfound")
    (shift,) = re.findall(r"base rate moved by ([+-][\d.]+) \(s[de] [\d.]+\)", said.out)
    assert "run in own (0002)" in said.out
    assert (settings("own/versions/0001")["level_shift"], settings("own")["level_shift"]) == (
        0.0,
        pytest.approx(float(shift), abs=1e-3),
    )
    expected, clicks = {}, pd.read_csv("random.csv")["value"].sum()
    for version in ("own/versions/0001", "own"):
        succeeds("score", version, "random.csv", "--intervention", "deconfound", "--output", "out.csv")
        expected[version] = pd.read_csv("out.csv")["mean"].sum()
    assert expected["own"] == pytest.approx(clicks, rel=1e-3)
    assert abs(expected["own/versions/0001"] - clicks) > 3
    dangling = [str(path) for path in Path("own").iterdir() if path.is_symlink() and not path.exists()]
    assert dangling == [], "no link to a file that the new version does not have"
    succeeds("report", "own")
    assert "base rate" not in pyrorec("diagnose", "own").err


def test_recalibrating_by_a_sample_that_says_nothing_is_refused(place: Path) -> None:
    sample = pd.read_csv("random.csv")
    sample.assign(value=1).to_csv("all.csv", index=False)
    assert "some of both outcomes" in refused(place, "recalibrate", "run", "all.csv")
    assert "There is no intervention" in refused(place, "recalibrate", "run", "random.csv", "--intervention", "undo")
    succeeds("fit", "counts.csv", "--model", "popularity", "--out", "counted", *QUICK)
    assert "predicts counts or ratings" in refused(place, "recalibrate", "counted", "random.csv")


# --- what is refused, with exit status 2 and nothing written


REFUSED = [
    (("log.csv", "--objective", "map"), "no MAP fit"),
    (("log.csv", "--objective", "exact"), "there are: analytic, expected"),
    (("clicks.csv", "--missing", "zero", "--prior-source", "exposure"), "--missing unobserved"),
    (("clicks.csv", "--missing", "zero", "--sharing", "period"), "share popularity per item"),
    (("clicks.csv", "--missing", "zero", "--sharing", "interaction"), "share popularity per item"),
    (("clicks.csv", "--missing", "unobserved"), "nothing tells clicks from the rest"),
    (("bare.csv", "--sharing", "period"), "needs a timestamp column"),
    (("bare.csv", "--prior-source", "earlier"), "no timestamps"),
    (("bare.csv", "--inverse-propensity"), "need a propensity column"),
    (
        ("log.csv", "--predictor", "log-additive", "--prior", "exponential", "--prior-source", "exposure"),
        "no empirical",
    ),
    (("log.csv", "--predictor", "product-ratio", "--family", "probit"), "use family bernoulli"),
    (("log.csv", "--predictor", "odds", "--family", "poisson"), "use family bernoulli"),
    (("log.csv", "--predictor", "additive", "--prior", "gamma"), "not popularity gamma"),
    (("log.csv", "--predictor", "additive", "--posterior", "weibull"), "not posterior weibull"),
    (("log.csv", "--predictor", "log-additive", "--family", "bernoulli"), "multiplies a rate"),
    (("log.csv", "--predictor", "plain", "--prior", "normal"), "takes no popularity"),
    (("log.csv", "--posterior", "beta"), "there are: gamma, inverse-gaussian, lognormal, normal, weibull"),
    (("log.csv", "--affinity", "linear", "--factors", "3"), "has no factors"),
    (("log.csv", "--sharing", "user"), "there are: interaction, item, period"),
    (("log.csv", "--prior-source", "guess"), "there are: earlier, exposure, learned"),
    (("log.csv", "--negatives", "0"), "negatives must be above zero"),
    (("counts.csv", "--family", "bernoulli"), "takes clicks"),
]


@pytest.mark.parametrize(("flags", "said"), REFUSED, ids=[" ".join(flags) for flags, _ in REFUSED])
def test_wrong_combinations_are_refused_before_anything_is_written(
    place: Path, flags: tuple[str, ...], said: str
) -> None:
    quick = tuple(word for word in QUICK if "--factors" not in flags or word not in ("--factors", "2"))
    words = ("fit", "--model", "popularity", "--out", "own", *flags, *quick)
    assert said in refused(place, *words)
    assert pyrorec(*words).code == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--model", "trilateral"), "There is no model 'trilateral'; there are: bilateral, popularity"),
        (("--sharing", "item"), "--sharing does not belong"),
        (("--affinity", "dot"), "--affinity does not belong"),
        (("--amortised",), "--amortised does not belong"),
        (("--affinity-first",), "--affinity-first does not belong"),
        (("--negatives", "2"), "--negatives does not belong"),
        (("--objective", "expected"), "are for the popularity model"),
        (("--objective", "score-function"), "are for the popularity model"),
    ],
)
def test_what_belongs_to_the_popularity_model_is_refused_for_the_bilateral_one(
    place: Path, flags: tuple[str, ...], said: str
) -> None:
    words = ("fit", "log.csv", "--out", "own", *flags, *QUICK)
    assert re.search(said, refused(place, *words))
    assert pyrorec(*words).code == 2


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [
        (("log.csv", "--predictor", "product-ratio", "--prior", "lognormal"), ("bernoulli", "lognormal", "normal")),
        (("log.csv", "--predictor", "odds", "--prior-source", "exposure"), ("bernoulli", "gamma", "gamma")),
        (("clicks.csv", "--predictor", "product-saturation"), ("bernoulli", "gamma", "normal")),
        (("counts.csv", "--prior", "weibull", "--posterior", "lognormal"), ("poisson", "weibull", "weibull")),
        (("log.csv", "--prior-source", "earlier", "--repeats", "apart"), ("bernoulli", "normal", "normal")),
    ],
    ids=lambda words: " ".join(words[1:]),
)
def test_the_bilateral_model_takes_any_popularity(
    place: Path, flags: tuple[str, ...], chosen: tuple[str, str, str]
) -> None:
    succeeds("fit", *flags, "--out", "own", *QUICK)
    model = tomllib.loads(Path("own/config.toml").read_text())["model"]
    assert model["kind"] == "bilateral"
    assert tuple(model[part]["name"] for part in ("family", "popularity", "activity")) == chosen
    for question in (("--intervention", "observe"), ("--intervention", "deconfound")):
        succeeds("recommend", "own", "--k", "3", *question, "--output", "top.csv")
        assert np.isfinite(pd.read_csv("top.csv")[RANKED[3:]].to_numpy()).all()


def test_a_posterior_that_integration_rules_out_is_refused(place: Path) -> None:
    said = refused(place, "fit", "counts.csv", "--posterior", "lognormal", "--out", "own", *QUICK)
    assert "has a gamma posterior: leave posterior out" in said


def test_settings_of_a_part_in_a_file_are_checked(place: Path) -> None:
    for text, said in (
        ('sharing = {name = "period", periods = 0}', "[model.sharing] periods must be at least 1"),
        ('source = {name = "earlier", share = 1.0}', "[model.source] share must lie strictly between 0 and 1"),
        ('sharing = {name = "period", weeks = 2}', "has no key 'weeks'"),
        ("hidden = [3]", "has no key 'hidden'"),
    ):
        Path("run.toml").write_text(f'[model]\nkind = "popularity"\n{text}\n', encoding="utf-8")
        assert said in refused(place, "fit", "log.csv", "--config", "run.toml", "--out", "own", *QUICK), text


def test_metrics_tell_every_divergence_apart(place: Path) -> None:
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert {"record/reconstruction", "record/elbo", "record/kl_popularity", "record/kl_user_weights", "elbo"} <= set(
        lines[0]
    )
    kls = sum(value for name, value in lines[-1].items() if "/kl_" in name)
    assert lines[-1]["elbo"] == pytest.approx(lines[-1]["record/reconstruction"] - kls, rel=1e-6)


def test_a_recalibrated_version_keeps_the_test_part_and_is_judged_on_it(place: Path) -> None:
    succeeds("fit", "log.csv", "--model", "popularity", "--holdout", "0.2", "--out", "own", *QUICK)
    succeeds("recalibrate", "own", "random.csv")
    first, second = (pd.read_parquet(Path("own") / "versions" / number / "test.parquet") for number in ("0001", "0002"))
    pd.testing.assert_frame_equal(first, second)
    page = Path("own/report.html").read_text(encoding="utf-8")
    assert "No evaluation was given" not in page
    assert "by a random sample" in page
    assert "expected calibration error" in page.lower().replace("_", " ")
    assert "propensities moved the level by" in succeeds("diagnose", "own").out
    shift = settings("own")["recalibration"]
    succeeds("recalibrate", "own", "random.csv")
    assert settings("own")["recalibration"] == pytest.approx(shift, abs=1e-6)


def test_periods_take_a_log_whose_records_are_kept_apart(place: Path) -> None:
    """And a run's own configuration says that they were."""
    asked = ("fit", "log.csv", "--model", "popularity", "--sharing", "period", *QUICK)
    assert "keep them apart (--repeats apart" in refused(place, *asked, "--out", "merged")
    succeeds(*asked, "--repeats", "apart", "--out", "own")
    assert len(pd.read_parquet("own/interactions.parquet")) == len(pd.read_csv("log.csv"))
    succeeds("fit", "log.csv", "--config", "own/config.toml", "--out", "again", "--quiet")
    assert Path("again/weights.safetensors").read_bytes() == Path("own/weights.safetensors").read_bytes()
    said = refused(place, *asked, "--repeats", "never", "--out", "never")
    assert "There is no rule 'never' for repeated records" in said


def test_a_prior_rule_does_not_belong_to_the_joint_model(place: Path) -> None:
    words = ("--model", "joint", "--prior-rule", "share", "--out", "own", *QUICK)
    said = refused(place, "fit", "log.csv", *words)
    assert "--prior-rule does not belong to this kind of --model" in said


def test_propensities_alone_recalibrate(place: Path) -> None:
    succeeds("fit", "log.csv", "--model", "popularity", "--out", "own", *QUICK)
    assert "Give a log of randomly exposed pairs, or --use-propensities" in refused(place, "recalibrate", "own")
    succeeds("recalibrate", "own", "--use-propensities")
    assert settings("own")["recalibration"] != 0
    succeeds("fit", "bare.csv", "--model", "popularity", "--out", "bare-run", *QUICK)
    said = refused(place, "recalibrate", "bare-run", "--use-propensities")
    assert "has no propensities to start from" in said
