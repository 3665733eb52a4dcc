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
# # Popularity, told apart and put aside
#
# A log of impressions says who was shown what and who clicked. Popular items are shown more and, in this world, clicked
# more. This notebook simulates such a log, fits the popularity model, and asks:
#
# 1. Is each item's popularity found, and what did the clicks add to what the counts already said?
# 2. What would be clicked if popularity did not matter, and how far does the answer hang on an assumption?
# 3. How often would a randomly shown item be clicked, if the log forgot part of what was not clicked?
#
# Every number in the text is computed where it stands.

# %%
# %matplotlib inline
import os
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib import rc_context

import pyrorec as pr

warnings.filterwarnings("ignore", message="IProgress not found")  # the progress bar is off below
from pyrorec import report  # noqa: E402
from pyrorec.inference.empirical_bayes import GammaPoissonML, exposure_counts  # noqa: E402
from pyrorec.report import style  # noqa: E402
from pyrorec.simulation.record_world import RecordWorld  # noqa: E402

QUICK = os.environ.get("CI") == "1"  # sizes are cut when the notebook is run as a test
SIZE = {"users": 300, "items": 50, "records": 10_000} if QUICK else {"users": 1_000, "items": 120, "records": 60_000}
EPOCHS = 30 if QUICK else 80
SHARES = (0.0, 0.5, 1.0)
FORGOTTEN, SAMPLE = 0.6, 400
training = pr.Training(
    objective=pr.Expected(), epochs=EPOCHS, learning_rate=0.05, batch_size=4_000, validation_fraction=0.0
)
quiet = pr.Context(seed=0, progress=False)


def say(text: str) -> None:
    """Shows a sentence as text of the document."""
    display(Markdown(text))


# %% [markdown]
# ## The world
#
# A click comes with probability $\sigma(b_0 + x_u^\top w + \gamma\,\zeta_i)$. The features $x_u$ are known; popularity
# $\zeta_i$, the standardised logarithm of a rate, is not. How often an item is shown is Poisson with that rate, so
# popularity confounds who sees an item with whether it is clicked.

# %%
world = RecordWorld(**SIZE)
simulated = world.simulate(seed=0)
log = simulated.log
zeta = (simulated.log_popularity - simulated.mean_log) / simulated.sd_log
shown = np.bincount(log.item, log.trials, log.n_items)
rate = np.bincount(log.item, log.value, log.n_items) / shown
say(
    f"{log.trials.sum():,.0f} impressions of {log.n_items} items to {log.n_users:,} users, {log.value.sum():,.0f} of "
    f"them clicked. The most shown item was shown {shown.max():,.0f} times, the least shown {shown.min():,.0f} times; "
    f"impressions and click rates have correlation {np.corrcoef(np.log(shown), rate)[0, 1]:.2f} across items."
)

# %% [markdown]
# ## The fit
#
# The affinity is linear in ids and features, the predictor adds $\gamma\,\zeta_i$. Each item's prior comes from how
# often it was shown, by empirical Bayes; its clicks then update it. Counting *impressions* and fitting *clicks given
# impressions* uses nothing twice. Popularity is integrated out of every term, so nothing about it is sampled.

# %%
model = pr.PopularityModel(affinity=pr.Linear(), source=pr.ExposureCounts())
run = pr.fit(model, log, training=training, context=quiet)
display(report.loss_curves(run))

# %%
elbo = pd.Series([line["elbo"] for line in run.metrics])
late = max(1, len(elbo) // 10)
moved = abs(elbo.iloc[-1] - elbo.iloc[-1 - late]) / (elbo.max() - elbo.min())
settled = "has settled" if moved < 0.01 else "has not settled: more epochs are needed"
gamma = run.posterior.item_effect.predictor.popularity_effect
estimate = GammaPoissonML().fit(exposure_counts(log)).standardised()
found, true = gamma / estimate.scale, world.predictor.popularity_effect / world.sd_log
say(
    f"**What it shows.** The ELBO rose from {elbo.iloc[0]:.3f} to {elbo.iloc[-1]:.3f} nats per cell; the last tenth of "
    f"training moved it by {moved:.1%} of that range, so it {settled}. Per unit of log popularity the effect is found "
    f"to be {found:.2f}, where the truth is {true:.2f}."
)

# %% [markdown]
# ## Prior, posterior, truth
#
# Both the prior (impressions) and the posterior (impressions and clicks) of each item can be held against the truth.
# The scale of $\zeta$ is that of the population as the counts have it, so the truth is put on that scale first.

# %%
unit = np.log(shown.mean() / (world.records / world.items))  # counts have the mean of the shown items as unit
truth = (simulated.log_popularity - unit - estimate.location) / estimate.scale
prior = estimate.items.law
posterior = run.posterior.effects("item")
table = pd.DataFrame(
    {
        "truth": truth,
        "prior": prior.mean.numpy(),
        "prior_sd": prior.stddev.numpy(),
        "posterior": posterior["mean"],
        "posterior_sd": posterior["sd"],
        "lower": posterior["lower"],
        "upper": posterior["upper"],
    }
).sort_values("truth")
with rc_context(style.STYLE):
    figure, ((axes,),) = style.canvas(1)
    place = np.arange(len(table))
    axes.vlines(place, table["lower"], table["upper"], color=style.BLUE, alpha=0.6, label="posterior, 90 %")
    axes.plot(place, table["truth"], "k.", label="truth")
    axes.set(title="Popularity of each item", xlabel="items, by their truth", ylabel="zeta")
    axes.legend()
display(figure)

# %%
inside = ((table["lower"] <= table["truth"]) & (table["truth"] <= table["upper"])).mean()
agreement = table["posterior"].corr(table["truth"])
say(
    f"**What it shows.** Posterior means and truth have correlation {agreement:.3f}; the 90 % intervals hold "
    f"{inside:.0%} of the {len(table)} true values."
)

# %%
with rc_context(style.STYLE):
    figure, ((left, right),) = style.canvas(2)
    for name, colour in (("prior", style.VERMILION), ("posterior", style.BLUE)):
        left.plot(table["truth"], table[name] - table["truth"], ".", color=colour, label=name)
        right.plot(np.sort(shown), table[f"{name}_sd"].loc[np.argsort(shown)], color=colour, label=name)
    left.axhline(0.0, color="black", linewidth=0.8)
    left.set(title="Mean less truth", xlabel="true zeta", ylabel="error")
    right.set(title="Standard deviation", xlabel="impressions")
    left.legend()
display(figure)

# %%
error = {name: float(np.sqrt(((table[name] - table["truth"]) ** 2).mean())) for name in ("prior", "posterior")}
narrower = float((table["posterior_sd"] / table["prior_sd"]).mean())
say(
    f"**What it shows.** The root mean squared error is {error['prior']:.3f} by impressions alone and "
    f"{error['posterior']:.3f} with clicks. Clicks make the sd {narrower:.2f} times what it was: "
    + ("most" if narrower > 0.7 else "less than all")
    + " of what is known of popularity comes from how often items are shown."
)

# %% [markdown]
# ## How much of popularity is quality?
#
# `Observe()` asks what the next impression will bring. `Deconfound(quality_share)` asks what a randomly shown item
# would bring, where the share says how much of popularity's effect is the item's quality and so stays. A log whose
# exposure follows popularity cannot tell the share: the two effects have one regressor. So it is stated, and all
# three are shown.

# %%
items = pd.Index(log.items)
pairs = pd.DataFrame({"user_id": log.users[0], "item_id": items})
scores = {"observe": run.score(pairs)["mean"]}
scores |= {f"quality share {share:g}": run.score(pairs, pr.Deconfound(share))["mean"] for share in SHARES}
scores = pd.DataFrame(scores).set_index(items)
picked = posterior["mean"].sort_values().index[[-1, len(items) // 2, 0]]
display(scores.loc[picked].set_axis(["most popular", "middling", "least popular"]).round(3))
with rc_context(style.STYLE):
    figure, ((axes,),) = style.canvas(1)
    for share, colour in zip(SHARES, (style.BLUE, style.GREEN, style.VERMILION), strict=True):
        name = f"quality share {share:g}"
        axes.plot(posterior["mean"], scores[name], ".", color=colour, label=name)
    axes.set(title="Click probability of one user", xlabel="popularity, posterior mean", ylabel="probability")
    axes.legend()
display(figure)

# %%
ratios = scores.loc[picked[0]] / scores.loc[picked[-1]]
say(
    f"**What it shows.** The most popular item is {ratios['observe']:.1f} times as probable to be clicked as the least "
    f"popular one under Observe, {ratios['quality share 0.5']:.1f} times at share 0.5 and "
    f"{ratios['quality share 0']:.2f} times at share 0. Share 1 is Observe: their scores differ by at most "
    f"{abs(scores['observe'] - scores['quality share 1']).max():.0e}. The ranking of a catalogue hangs on a number "
    "that no such log contains: report it, or find it by random exposure."
)

# %% [markdown]
# ## The base rate
#
# Suppose the logger keeps every click and forgets a part of what was not clicked. Nothing in the log shows it. A small
# random sample of impressions sets the level right, by one number added to every linear predictor.

# %%
rng = np.random.default_rng(1)
forgotten = rng.binomial((log.trials - log.value).astype(int), FORGOTTEN)
kept = replace(log, trials=log.trials - forgotten)
biased = pr.fit(model, kept.select(kept.trials > 0), training=training, context=quiet)


def random_sample(size: int) -> tuple[pr.Interactions, pd.DataFrame]:
    """Random pairs with their clicks, as a log, and as a table with their true click probabilities `p`."""
    user, item = rng.integers(log.n_users, size=size), rng.integers(log.n_items, size=size)
    logit = world.intercept + log.user_features.to_numpy()[user] @ world.slopes
    p = 1 / (1 + np.exp(-logit - world.predictor.popularity_effect * zeta[item]))
    frame = pd.DataFrame({"user_id": user, "item_id": item, "value": (rng.random(size) < p).astype(int)})
    return pr.read_interactions(frame), frame.assign(p=p)


sample, _ = random_sample(SAMPLE)
mended = pr.recalibrate(biased, sample)
_, judged = random_sample(5_000)
predicted = {name: r.score(judged)["mean"].to_numpy() for name, r in {"before": biased, "after": mended}.items()}
with rc_context(style.STYLE):
    figure, ((axes,),) = style.canvas(1)
    edges = np.quantile(judged["p"], np.linspace(0, 1, 11))
    group = np.clip(np.searchsorted(edges, judged["p"]) - 1, 0, 9)
    mean_true = judged["p"].groupby(group).mean()
    for name, colour in (("before", style.VERMILION), ("after", style.BLUE)):
        axes.plot(mean_true, pd.Series(predicted[name]).groupby(group).mean(), "o-", color=colour, label=name)
    axes.plot(mean_true, mean_true, color="black", linewidth=0.8)
    axes.set(title="Random pairs, by tenths", xlabel="true click probability", ylabel="predicted")
    axes.legend()
display(figure)

# %%
level = {name: float(p.mean()) for name, p in predicted.items()}
shift, wanted = mended.posterior.level_shift, np.log(1 - FORGOTTEN)
off = {name: abs(value / judged["p"].mean() - 1) for name, value in level.items()}
helped = off["after"] < off["before"]
say(
    f"**What it shows.** Random pairs are clicked with probability {judged['p'].mean():.3f}. The biased fit expects "
    f"{level['before']:.3f}; after {SAMPLE} random labels it expects {level['after']:.3f}. The level moved by "
    f"{shift:+.2f} on the logit scale, where forgetting calls for {wanted:+.2f}. One number for all, so rankings stay."
)

# %% [markdown]
# ## What one click's uncertainty is made of
#
# Of a future click's variance $S(1-S)$ a part is ours (parameters), a part is popularity's under the intervention, and
# the rest is the coin toss.

# %%
parts = pr.variance_parts(run, pairs.head(30)).sort_values("mean")
with rc_context(style.STYLE):
    figure, ((axes,),) = style.canvas(1)
    bottom = np.zeros(len(parts))
    for name, colour in (("epistemic", style.VERMILION), ("popularity", style.BLUE), ("outcome", style.GREY)):
        axes.bar(np.arange(len(parts)), parts[name], bottom=bottom, color=colour, label=name)
        bottom = bottom + parts[name].to_numpy()
    axes.set(title="Variance of a click, deconfounded", xlabel="30 items, by mean", ylabel="variance")
    axes.legend()
display(figure)

# %%
total = parts[["epistemic", "popularity", "outcome"]].sum()
part = total / total.sum()
say(
    f"**What it shows.** {part['outcome']:.0%} of the variance is the coin toss, {part['popularity']:.0%} comes from "
    f"popularity once it is drawn from the population, and {part['epistemic']:.1%} is what more data would remove."
)

# %% [markdown]
# ## Conclusion

# %%
say(
    f"1. **Popularity.** It is found to a correlation of {agreement:.3f}, its effect at {found:.2f} for {true:.2f}; "
    f"{inside:.0%} of the 90 % intervals hold the truth"
    f"{', so read them as too narrow' if inside < 0.85 else ''}.\n"
    "2. **Adjustment.** Between quality share 0 and 1 the most popular item goes from "
    f"{ratios['quality share 0']:.2f} to {ratios['quality share 1']:.1f} times the least popular one's probability: "
    "the share has to be stated.\n"
    f"3. **Level.** {SAMPLE} random labels took the error of the mean probability from {off['before']:.0%} to "
    f"{off['after']:.0%}{'' if helped else ', which did not help'}."
)
print("saved in", run.save("runs/popularity"))
