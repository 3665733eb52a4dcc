"""The pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.errata.counting import counted
from benchmarks.errata.integrals import APPROXIMATIONS, worst_error
from pyrorec.models.integrals.normal import log_logistic_normal, logistic_normal
from pyrorec.models.predictors import ProductRatio, ProductSaturation, ProductTanh
from pyrorec.report.style import BLACK, BLUE, GREEN, GREY, PURPLE, VERMILION, canvas, captioned, png

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
