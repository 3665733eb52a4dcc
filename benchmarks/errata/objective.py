"""What is maximised, and what that gives."""

from __future__ import annotations

import math

import numpy as np
import pyro.distributions as dist
import torch
from scipy import special, stats
from scipy.optimize import minimize

from benchmarks.errata.numerics import EXPIT, double, hermite, normal, number, response, response_square
from benchmarks.errata.registry import Numbers, erratum
from pyrorec.models.distributions.divergence import closed_form_kl
from pyrorec.models.integrals.normal import logistic_normal_square


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
