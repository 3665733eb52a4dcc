# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Taste, popularity, and how far to believe them
#
# A log of who bought what mixes two things: what people like, and what they come across. This notebook fits one
# model that keeps the two apart and asks it the three questions pyrorec is for:
#
# 1. What does this user like?
# 2. How much of an item's success is popularity rather than taste?
# 3. May I believe these estimates?
#
# It runs on the simulated log that ships with the package, so every answer can be held against the truth. To run it
# on your own log, replace the cell that reads it. Every number in the text below is computed where it stands.

# %%
# %matplotlib inline
import os
import warnings

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib import rc_context

import pyrorec as pr

warnings.filterwarnings("ignore", message="IProgress not found")  # the progress bar is off below
from pyrorec import report  # noqa: E402
from pyrorec.report import numbers, style  # noqa: E402

QUICK = os.environ.get("CI") == "1"  # sizes are cut when the notebook is run as a test
EPOCHS = 12 if QUICK else 80
WEIGHTS = np.linspace(0, 1, 3 if QUICK else 11)


def say(text: str) -> None:
    """Shows a sentence as text of the document."""
    display(Markdown(text))


# %% [markdown]
# ## The log
#
# `train` is confounded: popular items were come across more often. `test` holds clicks on items shown at random, the
# one kind of data on which taste can be judged by itself. Both share their ids.
#
# On your own log: `log = pr.read_interactions("log.parquet")`, then `train, test = pr.split_by_time(log, 0.2)`.

# %%
train, test = pr.embedded_log()
truth = pr.embedded_truth()
totals = pd.Series(train.item_totals, index=train.items)
head = totals.nlargest(len(totals) // 10).sum() / totals.sum()
say(
    f"{train.n_users} users, {train.n_items} items, {len(train):,} cells with {totals.sum():,.0f} events. The top "
    f"tenth of the items holds {head:.0%} of all events. The test part has {len(test):,} impressions, "
    f"{test.value.mean():.0%} of them clicked."
)

# %% [markdown]
# ## The fit
#
# The frailty model says that user $u$ has $y_{ui} \sim \text{Poisson}(w_u z_i e^{b_0 + a_{ui}})$ events with item
# $i$: activity $w_u$ and popularity $z_i$ are rates with mean one, affinity $a_{ui}$ is a dot product of factors.

# %%
model = pr.BilateralModel(factors=8, family=pr.Poisson(), predictor=pr.LogAdditive(), popularity=pr.Gamma())
run = pr.fit(model, train, training=pr.Training(epochs=EPOCHS), context=pr.Context(seed=0, progress=False))
display(report.loss_curves(run))

# %%
elbo = pd.Series([line["elbo"] for line in run.metrics])
late = max(1, len(elbo) // 10)
moved = abs(elbo.iloc[-1] - elbo.iloc[-1 - late]) / (elbo.max() - elbo.min())
settled = "has settled" if moved < 0.01 else "has not settled: more epochs are needed"
say(
    f"**What it shows.** Over {len(elbo)} epochs the ELBO rose from {elbo.iloc[0]:.2f} to {elbo.iloc[-1]:.2f} nats per "
    f"record. The last tenth of training moved it by {moved:.1%} of that range, so it {settled}. The score of held-out "
    f"cells was best at epoch {run.best_epoch}, whose parameters were kept."
)

# %% [markdown]
# ## How much of an item's success is popularity?
#
# If counts were all there is to popularity, items of equal count would be equally popular. They are not: an item whose
# natural audience is large or active needs less popularity to reach the same count.

# %%
display(report.popularity_against_counts(run))

# %%
popularity = run.posterior.effects("item")
true_popularity = pd.Series(truth.popularity, truth.items)
places = pd.DataFrame({"events": totals, "popularity": popularity["mean"], "truth": true_popularity})
places = places.rank(ascending=False).astype(int)
agreement = places["popularity"].corr(places["events"])
fallen = (places["popularity"] - places["events"]).idxmax()
say(
    f"**What it shows.** Popularity and counts have rank correlation {agreement:.2f}. Where they part, "
    f"the model credits taste: item {fallen} is number {places['events'][fallen]} by events, but number "
    f"{places['popularity'][fallen]} by popularity, because the users whose taste it meets are many or active. By its "
    f"true popularity it is number {places['truth'][fallen]} of {len(places)}."
)

# %% [markdown]
# Here the truth is known, so the estimates can be checked item by item.

# %%
display(report.recovered_against_true(run, truth))

# %%
table = numbers.recovery_table(run, truth)
shift = numbers.level_shift(table, rate=True)
correlation = np.corrcoef(np.log(table["mean"]), np.log(table["true"]))[0, 1]
inside = ((table["lower"] * shift <= table["true"]) & (table["true"] <= table["upper"] * shift)).mean()
too_narrow = inside < 0.85
say(
    f"**What it shows.** Recovered and true log-popularity correlate at {correlation:.2f}. The common level is off by "
    f"a factor of {1 / shift:.2f}, which the log cannot settle: level, activity and intercept trade off. With the "
    f"level aligned, the 90 % intervals hold {inside:.0%} of the true values: "
    + (
        "they are too narrow, because the mean-field posterior takes affinity as known better than it is."
        if too_narrow
        else "about what they promise."
    )
)

# %% [markdown]
# ## What does this user like?
#
# A recommendation depends on the question. `Observe()` asks what the next logged event will be and keeps popularity.
# `Deconfound()` asks what a user would choose if popularity did not decide what is seen.

# %%
user = train.users[0]
asked = {"observe": pr.Observe(), "deconfound": pr.Deconfound()}
lists = {name: run.recommend([user], k=5, intervention=question) for name, question in asked.items()}
for name, found in lists.items():
    say(f"**{name}**, user {user}")
    display(found.drop(columns="user_id").round(2))
shared = len(set(lists["observe"]["item_id"]) & set(lists["deconfound"]["item_id"]))
say(f"The two lists share {shared} of 5 items.")

# %%
evaluation = pr.evaluate(run, test, at=(10,))
display(report.popularity_under_interventions(run, evaluation))

# %%
arp, coverage = evaluation["arp@10"], evaluation["item_coverage@10"]
say(
    f"**What it shows.** An item recommended under Observe was used by {arp['observe']:.0f} users on average, under "
    f"Deconfound by {arp['deconfound']:.0f}, by EASE {arp['EASE']:.0f}. Deconfound's lists reach "
    f"{coverage['deconfound']:.0%} of the items, Observe's {coverage['observe']:.0%}."
)

# %% [markdown]
# Which list is better? The randomly shown part can say. `Temper(weight)` lies between the two questions: popularity
# counts with a power, from 0 (ranks as Deconfound) to 1 (Observe).

# %%
tempered = {f"{weight:.1f}": pr.Temper(float(weight)) for weight in WEIGHTS}
swept = pr.evaluate(run, test, at=(10,), interventions=tempered, baselines=())
swept.index = swept.index.astype(float)
with rc_context(style.STYLE):
    figure, ((left, right),) = style.canvas(2)
    for axes, metric, title in ((left, "ndcg@10", "NDCG@10"), (right, "within_user_auc", "AUC within users")):
        axes.plot(swept.index, swept[metric], "o-", color=style.BLUE, label="frailty model")
        axes.axhline(evaluation.loc["EASE", metric], color=style.VERMILION, linestyle="--", label="EASE")
        axes.set(title=title, xlabel="weight of popularity: 0 ranks as Deconfound, 1 is Observe")
    right.legend()
display(figure)

# %%
best = swept["ndcg@10"].idxmax()
gain = evaluation.loc["deconfound"] - evaluation.loc["observe"]
helps = gain["within_user_auc"] > 0
say(
    f"**What it shows.** On randomly shown items the best weight is {best:.1f} by NDCG@10. Going from Observe to "
    f"Deconfound changes the AUC within users by {gain['within_user_auc']:+.3f} and NDCG@10 by {gain['ndcg@10']:+.3f}; "
    f"EASE, which cannot be asked to set popularity aside, has NDCG@10 {evaluation.loc['EASE', 'ndcg@10']:.3f} against "
    f"{evaluation.loc['deconfound', 'ndcg@10']:.3f}. In this world taste alone decides on random impressions; in yours "
    "popularity may be partly quality, and the weight has to be tuned."
)

# %% [markdown]
# ## May I believe these estimates?
#
# Three checks: probabilities against what happened, factors in use, and the run's own diagnostics.

# %%
display(report.calibration(run, test))

# %%
error = evaluation["expected_calibration_error"].dropna()
groups = report.checks.reliability(run, test)["deconfound"]
predicted = np.average(groups["predicted"], weights=groups["trials"])
say(
    f"**What it shows.** The calibration error is {error['observe']:.2f} under Observe and {error['deconfound']:.2f} "
    f"under Deconfound, which predicts a click with probability {predicted:.2f} on average where "
    f"{test.value.mean():.2f} came: the log fixes who prefers what, not how often a randomly shown item is clicked. "
    "**Use deconfounded scores to rank, not as click probabilities**, unless a random sample sets their level."
)

# %%
display(report.active_factors(run))

# %%
factors = numbers.factor_table(run)
active = (factors["user_means"] > 0.01) & (factors["item_means"] > 0.01)
true_factors = truth.user_factors.shape[1]
say(
    f"**What it shows.** {active.sum()} of {len(active)} factors are in use; the world has {true_factors}. The largest "
    f"{true_factors} carry {factors['share'].iloc[:true_factors].sum():.0%} of the variance of affinity."
)

# %%
findings = pr.diagnose(run)
display(findings[["check", "verdict", "finding"]].style.hide(axis="index"))

# %% [markdown]
# The posterior itself goes to ArviZ with named dimensions, so that any question can be put to its draws.

# %%
draws = run.to_arviz().posterior["popularity"]
first, second = popularity["mean"].nlargest(2).index
ahead = float((draws.sel(item=first) > draws.sel(item=second)).mean())
say(f"Item {first} is the most popular item; it is ahead of {second} with posterior probability {ahead:.2f}.")

# %% [markdown]
# ## Conclusion

# %%
doubts = findings.loc[findings["verdict"] != "good", "check"].tolist()
say(
    f"1. **Taste.** Setting popularity aside {'helped' if helps else 'did not help'} to find what users like: AUC "
    f"within users {evaluation.loc['deconfound', 'within_user_auc']:.3f} against "
    f"{evaluation.loc['observe', 'within_user_auc']:.3f} on randomly shown items.\n"
    f"2. **Popularity.** Its order is recovered (correlation {correlation:.2f} on the log scale), its level is not.\n"
    f"3. **Belief.** {inside:.0%} of the 90 % intervals hold the truth, so they "
    f"{'are to be read as too narrow' if too_narrow else 'can be taken at their word'}. "
    f"Diagnostics with doubts: {', '.join(doubts) or 'none'}."
)
print("saved in", run.save("runs/quickstart"))
