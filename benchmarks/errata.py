"""The numbers and the pictures of docs/errata.md, computed anew.

    python -m benchmarks.errata

Prints, for every erratum of the two source notes, what the note's formula gives beside what the corrected one gives,
then the table of logistic-normal approximations, and draws the figures into docs/figures. Under a minute on one core.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pyro.distributions as dist
import torch
from scipy import special, stats
from scipy.optimize import brentq, minimize, minimize_scalar
from torch import Tensor

from pyrorec.models.distributions.divergence import closed_form_kl
from pyrorec.models.integrals import gamma, gamma_logs
from pyrorec.models.integrals.approximations import mackay, note_without_pi_over_8, probit_mixture
from pyrorec.models.integrals.normal import log_logistic_normal, logistic_normal, logistic_normal_square
from pyrorec.models.predictors import ProductRatio, ProductSaturation, ProductTanh
from pyrorec.report.style import BLACK, BLUE, GREEN, GREY, PURPLE, STYLE, VERMILION, canvas, captioned, png

FIGURES = Path(__file__).resolve().parent.parent / "docs" / "figures"
Pair = tuple[float | None, float | None]
Numbers = dict[str, Pair]
ERRATA: dict[str, Callable[[], Numbers]] = {}
EXPIT = special.expit


def erratum(name: str) -> Callable[[Callable[[], Numbers]], Callable[[], Numbers]]:
    """Registers a function that returns {quantity: (by the note, corrected)} under an erratum's id."""

    def add(function: Callable[[], Numbers]) -> Callable[[], Numbers]:
        ERRATA[name] = function
        return function

    return add


def number(tensor: Tensor) -> float:
    """A tensor of one element as a float."""
    return float(tensor.double())


def double(*values: float) -> list[Tensor]:
    """Floats as tensors in double precision."""
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def normal(mean: float, sd: float) -> dist.Normal:
    """N(mean, sd) in double precision."""
    at = double(mean, sd)
    return dist.Normal(at[0], at[1])


def response(mean: float, sd: float) -> float:
    """L(mean, sd) = E sigma(mean + sd e) (maths 4.4)."""
    return number(logistic_normal(*double(mean, sd)))


def hermite(nodes: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Hermite nodes and weights under the standard normal law."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    return x, w / w.sum()


# Exponential families


@erratum("A1")
def derivative_written_as_ratio() -> Numbers:
    """A / eta in place of dA / d eta, Poisson (maths 1.3)."""
    return {"A'(.7) for A = e^eta": (math.exp(0.7) / 0.7, math.exp(0.7))}


@erratum("A2")
def strict_convexity() -> Numbers:
    """The Hessian of a multinomial in three natural parameters is singular (maths 1.3)."""
    p = special.softmax([0.0, 0.5, 1.0])
    rank = np.linalg.matrix_rank(np.diag(p) - np.outer(p, p))
    return {"rank of the 3 x 3 Hessian of a multinomial": (3, int(rank))}


def note_log_partition(eta: Tensor) -> Tensor:
    """The note's A of the Gaussian with both parameters free (maths 1.3)."""
    return -(eta[0] ** 2) / (4 * eta[1])


def log_partition(eta: Tensor) -> Tensor:
    """The whole A (maths 1.1)."""
    return note_log_partition(eta) - 0.5 * torch.log(-2 * eta[1])


@erratum("A3")
def gaussian_log_partition() -> Numbers:
    """Moments by differentiating A at mean 1.3, sd .7 (maths 1.3)."""
    eta = torch.tensor([1.3 / 0.49, -1 / 0.98], dtype=torch.float64)
    both = (note_log_partition, log_partition)
    moment = [number(torch.autograd.functional.jacobian(function, eta)[1]) for function in both]
    hessians = [torch.autograd.functional.hessian(function, eta) for function in both]
    det = [abs(round(number(torch.linalg.det(hessian)), 10)) for hessian in hessians]
    return {"dA/d eta2, which is to be E x^2": (moment[0], moment[1]), "det of the Hessian": (det[0], det[1])}


@erratum("A4")
def parentheses() -> Numbers:
    """A subtracted once in place of once an observation, Poisson counts 0, 1, 2 (maths 1.3)."""
    counts = np.array([0.0, 1.0, 2.0])
    best = [minimize_scalar(lambda eta, n=n: n * math.exp(eta) - counts.sum() * eta).x for n in (1, len(counts))]
    return {"estimated rate of counts 0, 1, 2": (math.exp(best[0]), math.exp(best[1]))}


@erratum("A5")
def dropped_normaliser() -> Numbers:
    """log(1 / s) dropped though s is free: 50 observations, squared deviations 87.4 (maths 1.3)."""
    n, squares = 50, 87.4
    kept = {s: -squares / (2 * s**2) for s in (1.0, 50.0)}
    full = {s: value - n * (math.log(s) + 0.5 * math.log(2 * math.pi)) for s, value in kept.items()}
    rows: Numbers = {f"objective at s = {s:g}": (kept[s], full[s]) for s in kept}
    return rows | {"the s that maximises it": (math.inf, math.sqrt(squares / n))}


@erratum("A6")
def output_equal_to_count() -> Numbers:
    """An output eta regressed on the count, read as log rate, against max E[k eta - e^eta] (maths 1.3)."""
    counts = np.array([0.0, 0.0, 1.0, 5.0])
    eta = minimize_scalar(lambda at: math.exp(at) - counts.mean() * at).x
    return {"rate learned from counts 0, 0, 1, 5": (math.exp(counts.mean()), math.exp(eta))}


@erratum("A7")
def statistics_that_add() -> Numbers:
    """Batches (0, 2) and (5) merged by averaging variances against adding n, sum x, sum x^2 (maths 1.3)."""
    batches = [np.array([0.0, 2.0]), np.array([5.0])]
    n, first, second = (sum(float((x**power).sum()) for x in batches) for power in (0, 1, 2))
    return {
        "variance of 0, 2, 5 from two batches": (np.mean([x.var() for x in batches]), second / n - (first / n) ** 2)
    }


@erratum("A13")
def negative_binomial() -> Numbers:
    """Number of statistics that a family of log-densities needs: rank after centring (maths 1.3)."""
    k = np.arange(31)
    fixed = [stats.nbinom.logpmf(k, 2.0, p) for p in (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)]
    free = [stats.nbinom.logpmf(k, r, 0.5) for r in (0.5, 1, 2, 4, 8, 16)]
    ranks = []
    for table in (np.array(fixed), np.array(free)):
        centred = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
        ranks.append(int(np.linalg.matrix_rank(centred, tol=1e-6)))
    return {"statistics six negative binomials need, r fixed / free": (ranks[0], ranks[1])}


# What is maximised


@erratum("A8")
def constant_evidence() -> Numbers:
    """x = 2, x | z ~ N(w z, 1), z ~ N(0, 1), q = N(m, 1), w learned: the best ELBO has a gap (maths 1.3)."""

    def minus_elbo(at: np.ndarray) -> float:
        w, m = at
        return 0.5 * ((2 - w * m) ** 2 + w**2 + m**2)

    w, m = minimize(minus_elbo, [0.5, 0.5], tol=1e-12).x
    law, posterior = normal(m, 1.0), normal(2 * w / (1 + w**2), (1 + w**2) ** -0.5)
    return {"KL(q, posterior) where the ELBO is greatest": (0.0, number(closed_form_kl(law, posterior)))}


@erratum("A9")
def binarisation() -> Numbers:
    """Stored entries 3, 0, -1 as clicks (maths 1.3)."""
    stored = np.array([3.0, 0.0, -1.0])
    inverted = np.where(stored > 0, 0, stored)
    return {
        "ones among 3, 0, -1": (int((inverted == 1).sum()), int((stored > 0).sum())),
        "the same where every stored entry is set to 1": (len(stored), int((stored > 0).sum())),
    }


@erratum("A10")
def ranking_by_draws() -> Numbers:
    """Chance that one draw of two scores reverses their means: 1.0 and .8, sd .5 each (maths 1.3)."""
    return {"chance that the better item comes second": (float(special.ndtr(-0.2 / math.hypot(0.5, 0.5))), 0.0)}


@erratum("A11")
def missing_parenthesis() -> Numbers:
    """Punctuation; no number hangs on it (maths 1.3)."""
    return {"punctuation": (None, None)}


@erratum("A12")
def collapse() -> Numbers:
    """Posteriors equal to one another but not to the prior have not collapsed (maths 1.3)."""
    law, prior = normal(0.5, 0.5), normal(0.0, 1.0)
    return {"KL an observation if q is N(.5, .5) for every x": (0.0, number(closed_form_kl(law, prior)))}


@erratum("B1")
def record_or_item() -> Numbers:
    """P(two clicks on one item), a = 0, z ~ N(0, 1) (maths 1.3)."""
    return {"P(both of two users click one item)": (0.25, number(logistic_normal_square(*double(0.0, 1.0))))}


@erratum("B2")
def likelihood_is_no_posterior() -> Numbers:
    """Mass over z of sigma(z) N(z; 0, 1), which would be one for a posterior (maths 1.3)."""
    return {"integral over z of P(click given z) p(z)": (1.0, response(0.0, 1.0))}


@erratum("B3")
def latent_put_at_its_mean() -> Numbers:
    """log P(two clicks) with z at its mean and with z integrated out (maths 1.3)."""
    return {"log P(two clicks on one item)": (2 * math.log(0.5), math.log(response_square(0.0, 1.0)))}


def response_square(mean: float, sd: float) -> float:
    """E sigma(mean + sd e)^2 (maths 7.4)."""
    return number(logistic_normal_square(*double(mean, sd)))


def log_likelihood(z: np.ndarray) -> np.ndarray:
    """Of three clicks on an item, logit 3 z each."""
    return np.asarray(3 * special.log_expit(3 * z))


def best_gaussian() -> tuple[float, float, float]:
    """Mean, sd and ELBO of the best Gaussian q of z ~ N(0, 1) given those clicks (maths 1.1)."""
    x, w = hermite(200)

    def minus_elbo(at: np.ndarray) -> float:
        m, log_s = at
        kl = 0.5 * (m**2 + math.expm1(2 * log_s)) - log_s
        return float(kl - w @ log_likelihood(m + math.exp(log_s) * x))

    found = minimize(minus_elbo, [0.0, 0.0], tol=1e-13)
    return float(found.x[0]), math.exp(found.x[1]), -float(found.fun)


def log_evidence() -> float:
    """log P(those clicks), z integrated out."""
    x, w = hermite(200)
    return math.log(w @ np.exp(log_likelihood(x)))


@erratum("B4")
def jensen() -> Numbers:
    """Best ELBO against log evidence: an inequality (maths 1.3)."""
    return {"log evidence of three clicks": (best_gaussian()[2], log_evidence())}


@erratum("B5")
def gap() -> Numbers:
    """The gap is KL(q || posterior), integrated here on its own (maths 1.3)."""
    m, s, elbo = best_gaussian()
    x, w = hermite(200)
    z = m + s * x
    log_q, log_p = stats.norm.logpdf(z, m, s), stats.norm.logpdf(z) + log_likelihood(z) - log_evidence()
    return {
        "log evidence less ELBO": (0.0, log_evidence() - elbo),
        "KL(q, posterior) by quadrature": (0.0, float(w @ (log_q - log_p))),
    }


@erratum("B30")
def gradient_of_draws() -> Numbers:
    """d/dm E z^2, z ~ N(m, 1), m = 1.5: a plain draw carries none, the score function does (maths 1.3)."""
    m = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    draw = dist.Normal(m, 1.0).sample()
    x, w = hermite()
    score = float(w @ ((1.5 + x) ** 2 * x))
    shape = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    through = dist.Gamma(shape, 1.0).rsample().requires_grad
    return {
        "d/dm E z^2 at m = 1.5 (score function)": (2 * 1.5 * float(draw.requires_grad), score),
        "torch's Gamma has a gradient: sample / rsample": (float(draw.requires_grad), float(through)),
    }


@erratum("B21")
def not_unbiased() -> Numbers:
    """Mean logistic slope over simulated samples, and the ELBO's own optimum, truth (-1, 1.5) (maths 1.3)."""
    rows: Numbers = {f"mean slope, n = {n}": (1.5, mean_slope(n)) for n in (60, 240, 960)}
    for spread in (2.0, 3.0):
        rows[f"slope that maximises the expected ELBO, gamma s = {spread:g}"] = (1.5, elbo_optimum(spread)[1])
    return rows


def mean_slope(n: int, samples: int = 4000, seed: int = 0) -> float:
    """Average maximum-likelihood slope of logit P = -1 + 1.5 x, x ~ N(0, 1), by Newton on all samples at once.

    Samples that separate the outcomes, on which Newton does not settle, have no estimate and are left out.
    """
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((samples, n))
    c = generator.random((samples, n)) < EXPIT(-1 + 1.5 * x)
    b = np.zeros((samples, 2))
    for _ in range(14):
        p = EXPIT(b[:, :1] + b[:, 1:] * x)
        v = p * (1 - p) + 1e-12
        g0, g1 = (c - p).sum(1), ((c - p) * x).sum(1)
        h0, h1, h2 = v.sum(1), (v * x).sum(1), (v * x * x).sum(1)
        det = h0 * h2 - h1**2
        step = np.clip(np.stack([h2 * g0 - h1 * g1, h0 * g1 - h1 * g0], 1) / det[:, None], -2, 2)
        b += step
    return float(b[np.abs(step).max(1) < 1e-6, 1].mean())


def elbo_optimum(spread: float) -> np.ndarray:
    """Coefficients that maximise the expected best-Gaussian ELBO of logit P = -1 + 1.5 x + spread e, e of each record.

    x takes nine equally likely values in -2..2; for each value and outcome q has a mean and a log sd of its own, all
    optimised together with the coefficients.
    """
    x, (e, w) = np.repeat(np.linspace(-2, 2, 9), 2), hermite(32)
    sign = np.tile([1.0, -1.0], 9)
    truth = np.array([response(-1 + 1.5 * value, spread) for value in x[::2]]).repeat(2)
    share = torch.as_tensor(np.where(sign > 0, truth, 1 - truth) / 9)
    sign_t, x_t, e_t, w_t = (torch.as_tensor(value) for value in (sign, x, e, w))

    def minus_elbo(at: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.tensor(at, requires_grad=True)
        m, log_s = p[2:20], p[20:]
        z = m[:, None] + log_s.exp()[:, None] * e_t
        fit = torch.nn.functional.logsigmoid(sign_t[:, None] * ((p[0] + p[1] * x_t)[:, None] + spread * z)) @ w_t
        loss = (share * (0.5 * (m**2 + (2 * log_s).exp() - 1) - log_s - fit)).sum()
        loss.backward()
        return float(loss.detach()), np.asarray(p.grad)

    start = np.concatenate([[-1.0, 1.5], np.zeros(18), np.full(18, -0.3)])
    options = {"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-10}
    return np.asarray(minimize(minus_elbo, start, jac=True, method="L-BFGS-B", options=options).x[:2])


# Signs and links


@erratum("B7")
def sign_of_intercept() -> Numbers:
    """1 / (1 + exp(-u.i + b0)) at u.i = 1.7, b0 = -.4 (maths 1.3)."""
    return {"P(click), u.i = 1.7, b0 = -.4": (1 / (1 + math.exp(-1.7 - 0.4)), float(EXPIT(1.7 - 0.4)))}


@erratum("B8")
def sign_of_popularity() -> Numbers:
    """1 / (1 + exp(-u.i + gamma z + b0)) falls in z, gamma = 1 (maths 1.3)."""
    return {
        f"P(click) at z = {z}, gamma = 1": (1 / (1 + math.exp(-1.7 + z - 0.4)), float(EXPIT(1.7 + z - 0.4)))
        for z in (0, 1, 2)
    }


@erratum("B10")
def decreasing_link() -> Numbers:
    """sigma(-lambda z) against tanh(lambda z / 2) (maths 1.3)."""
    return {f"g at lambda z = {x:g}": (float(EXPIT(-x)), math.tanh(x / 2)) for x in (0.0, 0.5, 1.0, 3.0)}


@erratum("B11")
def name_of_the_saturation() -> Numbers:
    """The survival function of Exp(1) at 1 (maths 1.3)."""
    return {"survival function of Exp(1) at 1": (-math.expm1(-1.0), float(stats.expon.sf(1.0)))}


@erratum("B26")
def no_interaction() -> Numbers:
    """Distinct orders of eight items over fifty users, with and without an interaction (maths 1.3)."""
    generator = np.random.default_rng(0)
    users, items = generator.standard_normal((50, 4)), generator.standard_normal((8, 4))
    linear, bilinear = users.sum(1)[:, None] + items.sum(1), users @ items.T
    orders = [len({tuple(row) for row in np.argsort(scores)}) for scores in (linear, bilinear)]
    return {"different rankings among 50 users": (orders[0], orders[1])}


# Divergences


@erratum("B9")
def exponential_divergence() -> Numbers:
    """KL(Exp(2) || Exp(1)), rates (maths 1.3)."""
    right = closed_form_kl(dist.Exponential(*double(2.0)), dist.Exponential(*double(1.0)))
    return {"KL(Exp(2), Exp(1)), rates": (math.log(1 / 2) + 2 / 1 - 1, number(right))}


SHARES = 1 / np.arange(1, 10_001)
SHARES = SHARES / SHARES.sum()
ITEM_SD = 0.5


@erratum("B12")
def share_as_location() -> Numbers:
    """10,000 items with shares like 1 / rank, s0 = .5: share in place of the mean of log z (maths 1.3)."""
    top, bottom = float(SHARES[0]), float(SHARES[-1])
    half = ITEM_SD**2 / 2
    return {
        "median of the most over the least popular item": (math.exp(top - bottom), top / bottom),
        "KL between their priors": ((top - bottom) ** 2 / (4 * half), math.log(top / bottom) ** 2 / (4 * half)),
        "E z of an item with share .1022": (math.exp(top + half), math.exp(math.log(top) - half + half)),
        "E z over the median: sigma_0 for a variance": (math.exp(ITEM_SD / 2), math.exp(half)),
    }


@erratum("B12b")
def negatives_counted() -> Numbers:
    """Two items with 90 and 10 clicks and 100 sampled negatives each (maths 1.3)."""
    return {"share of the item with 90 of 100 clicks": (190 / 300, 90 / 100)}


@erratum("B14")
def double_use() -> Numbers:
    """Posterior sd where 31 events under exposure 31 serve in the prior too, population Gamma(2, 2) (maths 1.3)."""
    once, twice = (math.sqrt(2 + k * 31) / (2 + k * 31) for k in (1, 2))
    return {"posterior sd over the honest one": (twice / once, 1.0)}


# Counting a divergence

RECORDS, EVENTS = 50, 229


def counted(records: int, events: float, weight: float) -> tuple[float, float]:
    """Mean and sd of the optimal q of z ~ Gamma(2, 1), Poisson counts, the KL counted `weight` times (maths 1.3)."""
    shape, rate = 2 + events / weight, 1 + records / weight
    return shape / rate, math.sqrt(shape) / rate


@erratum("B13")
def divergence_per_record() -> Numbers:
    """50 counts with sum 229: KL counted per record and once (maths 1.3)."""
    wrong, right = counted(RECORDS, EVENTS, RECORDS), counted(RECORDS, EVENTS, 1)
    return {"posterior mean of z": (wrong[0], right[0]), "posterior sd of z": (wrong[1], right[1])}


# Prior, posterior, do

POPULAR, CLICK, SHOWN = 0.2, (0.1, 0.4), (0.02, 0.06)


def click_given_shown(popular_share: float) -> float:
    """P(click) where an item is popular with this probability."""
    return (1 - popular_share) * CLICK[0] + popular_share * CLICK[1]


def popular_given_shown() -> float:
    """P(popular | shown) where popular items are shown three times as often."""
    joint = np.array([1 - POPULAR, POPULAR]) * SHOWN
    return float(joint[1] / joint.sum())


@erratum("B6")
def three_laws() -> Numbers:
    """Means of population prior, item prior (8 events, exposure 4) and posterior (30 more, exposure 12) (maths 1.3)."""
    population, item, posterior = 2 / 2, (2 + 8) / (2 + 4), (2 + 8 + 30) / (2 + 4 + 12)
    return {"mean of z: population, posterior": (population, posterior), "mean of z: item prior": (None, item)}


@erratum("B15")
def observational_or_interventional() -> Numbers:
    """P(click | shown) and P(click | do(show)) (maths 1.3)."""
    return {"P(click) if we show it": (click_given_shown(popular_given_shown()), click_given_shown(POPULAR))}


@erratum("B16")
def prior_that_assumes_no_confounding() -> Numbers:
    """P(click | shown) of the logged events, with p(z) in place of p(z | i) (maths 1.3)."""
    return {"P(click) of the logged events": (click_given_shown(POPULAR), click_given_shown(popular_given_shown()))}


@erratum("B17")
def item_prior_in_the_integral() -> Numbers:
    """Items (a, own law of z): (0, N(1.5, .5)) and (.5, N(-.5, .5)); population N(0, 1), gamma = 1 (maths 1.4)."""
    return {
        "score of the popular item, a = 0": (response(1.5, 0.5), response(0.0, 1.0)),
        "score of the other, a = .5": (response(0.0, 0.5), response(0.5, 1.0)),
    }


# Identifiability


def rank(jacobian: np.ndarray) -> int:
    """Numerical rank of an information matrix scaled to unit diagonal (maths 2)."""
    information = jacobian.T @ jacobian
    scale = np.sqrt(np.diag(information))
    eigenvalues = np.linalg.eigvalsh(information / np.outer(scale, scale))
    return int((eigenvalues > 1e-11 * eigenvalues[-1]).sum())


def product_jacobian(levels: np.ndarray, item: np.ndarray, d: np.ndarray, g: np.ndarray, b: float = 1.0) -> np.ndarray:
    """Rows of d P / sqrt(P (1 - P)) by (b, d, log G) for P = G sigma(d + b t) (maths 2.1)."""
    h = EXPIT(d[item] + b * levels)
    p = g[item] * h
    hot = np.eye(len(d))[item]
    inner = (p * (1 - h))[:, None]
    columns = np.hstack([inner * levels[:, None], inner * hot, p[:, None] * np.eye(len(g))[item]])
    return np.asarray(columns / np.sqrt(p * (1 - p))[:, None])


def records_for_split(intercept: float) -> tuple[float, float]:
    """Mean click rate and the records that give log G an sd of .1: nine user levels, five items (maths 2.1)."""
    levels, item = np.tile(np.linspace(-2, 2, 9), 5), np.repeat(np.arange(5), 9)
    d, g = intercept + np.linspace(-0.5, 0.5, 5), np.linspace(0.5, 0.9, 5)
    jacobian = product_jacobian(levels, item, d, g)
    covariance = np.linalg.inv(jacobian.T @ jacobian / len(levels))
    return float((g[item] * EXPIT(d[item] + levels)).mean()), float(covariance[6, 6] / 0.01)


def per_record_rank() -> int:
    """Rank of 12 records, each with its own G, two of b, d shared (maths 2.1)."""
    levels, g = np.linspace(-2, 2, 12), np.linspace(0.3, 0.9, 12)
    own = product_jacobian(levels, np.arange(12), np.zeros(12), g)
    return rank(np.hstack([own[:, :1], own[:, 1:13].sum(1, keepdims=True), own[:, 13:]]))


@erratum("B22")
def product_split() -> Numbers:
    """Ranks of the product model, and how the sample it needs grows with rarity (maths 2.1)."""
    one = np.zeros(1)
    three, two = (
        rank(product_jacobian(np.array(t), np.zeros(len(t), int), one, one + 0.5)) for t in ((-1, 0, 1), (-1, 1))
    )
    rates, needed = np.array([records_for_split(b) for b in (-1.0, -3.0, -5.0, -7.0, -9.0)]).T
    return {
        "rank with a G a record, 14 parameters": (14, per_record_rank()),
        "rank with a G an item, 3 parameters, 2 user levels": (3, two),
        "the same, 3 user levels": (2, three),
        f"records for sd(log G) = .1 at click rate {rates[0]:.2f}": (None, needed[0]),
        f"the same at click rate {rates[2]:.3f}": (None, needed[2]),
        "power of the click rate with which they grow": (None, np.polyfit(np.log(rates[2:]), np.log(needed[2:]), 1)[0]),
    }


@erratum("B23")
def same_fit_other_ranking() -> Numbers:
    """h = (.50, .40), G = (.4, .8) and h = (.35, .50), G = (.5714, .64) (maths 1.3)."""
    one, other = np.array([[0.5, 0.4], [0.4, 0.8]]), np.array([[0.35, 0.5], [0.2 / 0.35, 0.64]])
    return {
        "greatest difference of the two fits": (0.0, float(np.abs(one.prod(0) - other.prod(0)).max().round(12))),
        "h of the first item less the second's": (float(one[0] @ [1, -1]), float(other[0] @ [1, -1])),
    }


def attenuated_slope() -> float:
    """The limit of logistic regression on x ~ N(0, 1) where logit P = -1 + 1.5 x + 2 e (maths 2.2)."""
    x, w = hermite()
    truth = np.array([response(-1 + 1.5 * value, 2.0) for value in x])

    def loss(b: np.ndarray) -> float:
        eta = b[0] + b[1] * x
        return float(w @ (np.logaddexp(0, eta) - truth * eta))

    return float(minimize(loss, [0.0, 1.0], tol=1e-12).x[1])


@erratum("B24")
def additive_is_not_enough() -> Numbers:
    """The orbit z -> 2 z + 1, and the slope that logistic regression finds if popularity is left out (maths 2.2)."""
    kappa, delta, a, effect, m, s = 2.0, 1.0, 0.3, 1.2, 0.5, 0.8
    first = response(a + effect * m, effect * s)
    moved = effect / kappa
    second = response(a - moved * delta + moved * (kappa * m + delta), moved * kappa * s)
    return {
        "P at gamma = 1.2 / at gamma = .6, z = 2 z + 1": (first, second),
        "slope found with popularity (gamma s = 2) left out": (attenuated_slope(), 1.5),
        "the same by 1.5 / sqrt(1 + pi 4 / 8)": (1.5 / math.sqrt(1 + math.pi * 4 / 8), 1.5),
    }


@erratum("B27")
def sign_of_the_effect() -> Numbers:
    """(gamma, z) = (1.2, .7) and (-1.2, -.7) at a = .3 (maths 1.3)."""
    return {"P at (1.2, .7) / at (-1.2, -.7)": (float(EXPIT(0.3 + 1.2 * 0.7)), float(EXPIT(0.3 + -1.2 * -0.7)))}


# Integrals

GRID_SDS = (0.1, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
Approximation = Callable[[Tensor, Tensor], Tensor]


def no_correction(mean: Tensor, sd: Tensor) -> Tensor:
    """sigma(mean): the spread left out."""
    return torch.sigmoid(mean)


APPROXIMATIONS: dict[str, Approximation] = {
    "no correction": no_correction,
    "the note's, without pi/8": note_without_pi_over_8,
    "MacKay's, with pi/8": mackay,
    "probit mixture, 8 terms": probit_mixture,
}


def worst_error(approximation: Approximation, sd: float) -> float:
    """Greatest absolute error over means (maths 1.5)."""
    reach = max(25.0, 6 * sd)
    mean = torch.linspace(-reach, reach, 6001, dtype=torch.float64)
    spread = torch.full_like(mean, sd)
    return number((approximation(mean, spread) - logistic_normal(mean, spread)).abs().max())


def times_the_truth(approximation: Approximation, mean: float, sd: float) -> float:
    """Approximation over L(mean, sd), the latter by its logarithm (maths 1.5)."""
    at = double(mean, sd)
    return number(approximation(*at)) / math.exp(number(log_logistic_normal(*at)))


def break_even() -> float:
    """The s from which the note's formula has a smaller worst error than sigma(mu) (maths 1.5)."""
    return float(brentq(lambda s: worst_error(note_without_pi_over_8, s) - worst_error(no_correction, s), 0.5, 3.0))


@erratum("B25")
def missing_pi_over_8() -> Numbers:
    """The note's sigma(mu / sqrt(1 + s^2)) and MacKay's with pi / 8, against the exact L (maths 1.5)."""
    both = (note_without_pi_over_8, mackay)
    rows: Numbers = {}
    for sd in (1.0, 2.0, 10.0):
        rows[f"worst absolute error, s = {sd:g}"] = (worst_error(both[0], sd), worst_error(both[1], sd))
    for mean, sd in ((-6.0, 1.0), (-6.0, 2.0), (-10.0, 3.0)):
        rows[f"times the truth at mu = {mean:g}, s = {sd:g}"] = (
            times_the_truth(both[0], mean, sd), times_the_truth(both[1], mean, sd),
        )  # fmt: skip
    rows["the s from which it beats leaving the spread out"] = (break_even(), None)
    x = np.linspace(0, 10, 100_001)
    limits = [float(np.abs(EXPIT(c * x) - special.ndtr(x)).max()) for c in (1.0, math.sqrt(8 / math.pi))]
    return rows | {"worst error as s grows without bound": (limits[0], limits[1])}


@erratum("B18")
def more_than_monte_carlo() -> Numbers:
    """E sigma(-1 + 2 e) by 10,000 draws and by fixed nodes; E sigma(-1 + z), z ~ Exp(1), exactly (maths 1.3)."""
    value, variance = response(-1.0, 2.0), response_square(-1.0, 2.0) - response(-1.0, 2.0) ** 2
    x, w = hermite(200)
    error = abs(value - float(w @ EXPIT(-1 + 2 * x)))
    exact = float(special.hyp2f1(1.0, 1.0, 2.0, -math.exp(1.0)))
    return {
        "error of E sigma(-1 + 2 e): 10,000 draws / fixed nodes": (math.sqrt(variance / 1e4), round(error, 10)),
        "E sigma(-1 + z), z ~ Exp(1), by 2F1": (None, exact),
        "the same by pyrorec": (None, number(gamma.logistic(*double(-1.0, 1.0, 1.0, 1.0)).value)),
    }


@erratum("B19")
def closed_form_in_the_wrong_place() -> Numbers:
    """log(1 - h E g) in place of E log(1 - h g): h = .8, z ~ Exp(1), lambda = 1 (maths 1.3)."""
    eta = math.log(0.8 / 0.2)
    right = number(gamma_logs.log_one_minus_match_saturation(*double(eta, 1.0, 1.0, 1.0)))
    return {"E log(1 - h g), h = .8": (math.log(1 - 0.8 * 0.5), right)}


@erratum("B28")
def closed_forms_of_other_links() -> Numbers:
    """Three averages with an exact value (maths 4.3)."""
    ratio = 2 * math.exp(1.5) * float(special.expn(3, 1.5))
    return {
        "E z/(z+1.5), Gamma(2, 1), by a e^x E_(a+1)(x)": (None, ratio),
        "E z^.5, Gamma(2, 1)": (None, float(special.gamma(2.5) / special.gamma(2.0))),
        "E z/(z+1.5), LogNormal(0, 1), by L(-log 1.5, 1)": (None, response(-math.log(1.5), 1.0)),
    }


# PDA


@erratum("B20")
def elu() -> Numbers:
    """ELU and ELU + 1, and PDA's score at u.i = 2, share .02, gamma = .2 (maths 1.2)."""
    return {
        "factor for u.i = -3": (math.expm1(-3.0), math.exp(-3.0)),
        "score at u.i = 2, share .02, gamma .2, against a bound of 1": (1.0, 3 * 0.02**0.2),
    }


# Theorems


@erratum("T1")
def ranking_invariance() -> Numbers:
    """Users of 50 whose ranking changes under S_do: one gamma for all items, a gamma of each item (maths 1.4)."""
    generator = np.random.default_rng(0)
    affinity = torch.as_tensor(generator.normal(-1, 1, (50, 30)))
    own = torch.as_tensor(generator.uniform(0, 4, 30)).expand(50, 30)
    changed = [
        int((logistic_normal(affinity, effect).argsort(1) != affinity.argsort(1)).any(1).sum())
        for effect in (own, torch.full_like(affinity, 2.0))
    ]
    return {"users of 50 whose order changes: gamma of each item / of all": (changed[0], changed[1])}


@erratum("T2")
def predictive_ranking() -> Numbers:
    """E S at posterior mean -2 of a, gamma = 1, posterior variances .05 and 2 (maths 7.3)."""
    return {
        "mean score of a well-known / unknown item, both a = -2": (
            response(-2.0, math.sqrt(0.05 + 1)),
            response(-2.0, math.sqrt(2 + 1)),
        )
    }


# Printing


def shown(value: float | None) -> str:
    """Four significant digits, a dash for nothing."""
    return "-" if value is None else f"{value:.4g}"


def rows() -> list[tuple[str, str, str, str]]:
    """(id, quantity, by the note, corrected) of every erratum."""
    return [
        (name, what, shown(wrong), shown(right))
        for name, function in ERRATA.items()
        for what, (wrong, right) in function().items()
    ]


def approximation_rows() -> list[list[str]]:
    """Worst errors of each approximation at each sd (maths 1.5)."""
    return [
        [name, *(f"{worst_error(function, sd):.2g}" for sd in GRID_SDS)] for name, function in APPROXIMATIONS.items()
    ]


# Figures

LOOK = {
    "no correction": (GREY, "-."),
    "the note's, without pi/8": (VERMILION, "--"),
    "MacKay's, with pi/8": (BLUE, "-"),
}


def draw_logistic_normal() -> bytes:
    """Value, worst error and relative error of the three approximations."""
    figure, axes = canvas(3, height=3.3)
    value, error, rare = axes[0]
    mean = torch.linspace(-8, 8, 400, dtype=torch.float64)
    spread = torch.full_like(mean, 2.0)
    value.plot(mean, logistic_normal(mean, spread), color=BLACK, linewidth=3.5, alpha=0.35, label="exact L(mu, 2)")
    sds = np.geomspace(0.05, 10, 40)
    logits = torch.linspace(-12, 0, 200, dtype=torch.float64)
    truth = log_logistic_normal(logits, torch.full_like(logits, 2.0))
    for name, (colour, dash) in LOOK.items():
        function = APPROXIMATIONS[name]
        value.plot(mean, function(mean, spread), color=colour, linestyle=dash, label=name)
        error.plot(sds, [worst_error(function, sd) for sd in sds], color=colour, linestyle=dash)
        rare.plot(
            truth.exp(), function(logits, torch.full_like(logits, 2.0)) / truth.exp(), color=colour, linestyle=dash
        )
    value.set(title="Value, s = 2", xlabel="mu", ylabel="probability")
    error.set(title="Worst absolute error", xlabel="s", ylabel="max over mu", xscale="log", yscale="log")
    rare.axhline(1.0, color=BLACK, linewidth=3.5, alpha=0.35)
    rare.set(title="Rare events, s = 2", xlabel="true probability", ylabel="approximation / truth", xscale="log")
    rare.set(yscale="log")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return png(captioned(figure, ""))


def draw_counted() -> bytes:
    """Posterior sd of an item's popularity over its records, its KL counted once and per record."""
    figure, (axes,) = canvas(2, height=3.4)
    n = np.geomspace(1, 1000, 60)
    for weight, name, colour, dash in (
        (n, "KL per record (the note's), with +- one sd", VERMILION, "--"),
        (np.ones_like(n), "KL once per item, with +- one sd", BLUE, "-"),
    ):
        mean, sd = np.array([counted(size, 4.58 * size, w) for size, w in zip(n, weight, strict=True)]).T
        axes[0].plot(n, mean, color=colour, linestyle=dash, label=name)
        axes[0].fill_between(n, mean - sd, mean + sd, facecolor=colour, alpha=0.12)
        for edge in (mean - sd, mean + sd):
            axes[0].plot(n, edge, color=colour, linestyle=dash, linewidth=0.8)
        axes[1].plot(n, sd, color=colour, linestyle=dash)
    axes[0].axhline(4.58, color=BLACK, linewidth=1.2, linestyle=":", label="mean count of the records, 4.58")
    axes[0].set(title="Posterior of popularity", xlabel="records n of the item", ylabel="z", xscale="log")
    axes[1].set(title="Its sd", xlabel="records n of the item", ylabel="sd of z", xscale="log", yscale="log")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return png(captioned(figure, ""))


def draw_links() -> bytes:
    """The note's link and those that grow from 0 to 1."""
    figure, axes = canvas(1, height=3.6)
    x = torch.linspace(1e-6, 6, 300)
    curves = (
        ("sigma(-lambda z), the note's", torch.sigmoid(-x), VERMILION, "--"),
        ("sigma(lambda z), starts at 1/2", torch.sigmoid(x), GREY, "-."),
        ("tanh(lambda z / 2), ProductTanh", ProductTanh(1.0).log_link(x)[0].exp(), BLUE, "-"),
        ("1 - exp(-lambda z), ProductSaturation", ProductSaturation(1.0).log_link(x)[0].exp(), GREEN, (0, (5, 1))),
        ("z / (z + C) with lambda = 1/C, ProductRatio", ProductRatio(1.0).log_link(x)[0].exp(), PURPLE, ":"),
    )
    for name, values, colour, dash in curves:
        axes[0, 0].plot(x, values, color=colour, linestyle=dash, label=name, linewidth=2)
    axes[0, 0].set(xlabel="lambda z", ylabel="g(z)", ylim=(-0.02, 1.02), xlim=(0, 6))
    figure.legend(loc="outside right center", frameon=False)
    return png(captioned(figure, ""))


DRAWN: dict[str, Callable[[], bytes]] = {
    "logistic_normal.png": draw_logistic_normal,
    "kl_counted.png": draw_counted,
    "links.png": draw_links,
}


def main() -> None:
    """Prints both tables and draws the figures."""
    torch.set_num_threads(1)
    print("| id | quantity | note | correct |\n|---|---|---|---|")
    for row in rows():
        print(f"| {' | '.join(row)} |")
    print(f"\n| method | {' | '.join(f'{sd:g}' for sd in GRID_SDS)} |")
    for line in approximation_rows():
        print(f"| {' | '.join(line)} |")
    FIGURES.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        for name, draw in DRAWN.items():
            (FIGURES / name).write_bytes(draw())


if __name__ == "__main__":
    main()
