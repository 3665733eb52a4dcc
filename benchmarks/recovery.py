"""Are the parameters of the popularity model found, and how fast do errors fall with the size of the log?

    python -m benchmarks.recovery [--quick] [--output FILE]

Logs of 200 items and 40 users with 2,000, 20,000 and 200,000 interactions are drawn from the model that is fitted:
additive (clicks shown in proportion to popularity, whose exposure counts are its prior), log-additive with clicks
(cloglog, lognormal popularity) and with counts (Poisson, Gamma popularity), both with a learned population.

Scales. A fit standardises the features, x' = (x - mean) / sd by the users of the log, and zeta' = (log z - log e -
M') / S' by the population M', S' that empirical Bayes finds in the exposure counts, whose unit is e, the mean exposure
an item over the exposure at z = 1. The world has zeta = (log z - M) / S. One linear predictor on both scales means

    slope' = slope sd        gamma' = gamma S' / S        intercept' = b0 + slopes . mean + gamma (M' + log e - M) / S.

Errors are taken on the fitted scale. Where the population is learned it is that of 200 items drawn: with z known, its
maximum likelihood estimate would still miss the truth. Errors are taken from both: from the truth, with the full
standard error, which the number of items bounds from below, and from that estimate ("items drawn"), which more
interactions do bring down. The difference of a maximum likelihood estimate and the one that also knows z has the
difference of their variances.

Standard errors are those of the expected information at the truth (maths 2). Popularity enters it as what the fit
knows of it: effects of an item have variance v_i (gamma'^2 s_i^2 with s_i the sd of the item's prior; sd^2; 1 / shape),
so that an item with cells of weight W contributes X'WX - X'W1 1'WX / (1 / v_i + 1'W1). This is exact for Poisson counts
with Gamma popularity, and the Laplace approximation of the marginal likelihood elsewhere.

Then the product form, P = G_i sigma(d_i + b t): the information on the split of log G_i against d_i falls with the
third power of the click rate (maths 2.1), and fits from two starts are compared at two rates.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from scipy import special, stats
from tqdm import tqdm

import pyrorec as pr
from pyrorec.inference.empirical_bayes import GammaPoissonML, exposure_counts
from pyrorec.inference.objective import Expected
from pyrorec.inference.run import Run
from pyrorec.models.affinities import Linear
from pyrorec.models.distributions import Gamma, LogNormal
from pyrorec.models.distributions.gamma import match_gamma
from pyrorec.models.families import Cloglog, Poisson
from pyrorec.models.links import expected_log_link
from pyrorec.models.popularity import PopularityModel
from pyrorec.models.predictors import LogAdditive, ProductSaturation
from pyrorec.models.prior_source import ExposureCounts
from pyrorec.report.style import BLUE, DPI, GREEN, GREY, PURPLE, STYLE, VERMILION, canvas
from pyrorec.simulation.record_world import RecordWorld, SimulatedRecords

SIZES, REPLICATES = (2_000, 20_000, 200_000), (10, 6, 5)
USERS, ITEMS, SHAPE = 40, 200, 1.5
TRAINING = pr.Training(objective=Expected(), epochs=100, learning_rate=0.05, validation_fraction=0.0, batch_size=2_000)
RATES = (0.3, 0.1, 0.02, 0.003)
STARTS = (0.3, 3.0)
FIGURE = Path(__file__).parents[1] / "docs/figures/recovery.png"


@dataclass(frozen=True)
class Estimates:
    """Numbers by name on the fitted scale: found, the target, se, and the target and se given the items drawn."""

    names: tuple[str, ...]
    found: np.ndarray
    truth: np.ndarray
    se: np.ndarray
    drawn: np.ndarray
    drawn_se: np.ndarray

    def rows(self, **common: Any) -> list[dict[str, Any]]:
        columns = zip(self.names, self.found, self.truth, self.se, self.drawn, self.drawn_se, strict=True)
        keys = ("parameter", "found", "truth", "se", "drawn", "drawn_se")
        return [common | dict(zip(keys, row, strict=True)) for row in columns]


@dataclass(frozen=True)
class GammaWorld(RecordWorld):
    """Popularity from Gamma(shape, shape) in place of the lognormal."""

    shape: float = SHAPE

    def log_popularity(self, rng: np.random.Generator) -> np.ndarray:
        return np.log(rng.gamma(self.shape, 1 / self.shape, self.items))


@dataclass(frozen=True)
class Design:
    """A world, the model that is fitted to it, and how the fit is compared with the truth."""

    world: Callable[[int], RecordWorld]
    model: PopularityModel
    estimates: Callable[[RecordWorld, SimulatedRecords, Run], Estimates]

    def run(self, records: int, seed: int, training: pr.Training = TRAINING) -> Estimates:
        world = self.world(records)
        drawn = world.simulate(seed)
        run = pr.fit(self.model, drawn.log, seed=seed, training=training, context=pr.Context(progress=False))
        return self.estimates(world, drawn, run)


def scaled(world: RecordWorld, drawn: SimulatedRecords) -> tuple[np.ndarray, np.ndarray, float]:
    """Standardised features of each cell with a column of ones, slopes on that scale, and slopes . mean."""
    assert drawn.log.user_features is not None
    x = drawn.log.user_features.to_numpy()
    z = (x - x.mean(0)) / x.std(0)
    slopes = np.asarray(world.slopes)
    return np.c_[np.ones(len(drawn.log)), z[drawn.log.user]], slopes * x.std(0), float(slopes @ x.mean(0))


def weights_found(run: Run) -> np.ndarray:
    """Intercept, with the mean of every id's effect, and slopes."""
    laws: Any = run.guide.laws()
    effects = sum(float(laws[s].mean.detach().mean()) for s in ("user_effect", "item_effect") if s in laws)
    return np.r_[float(run.posterior.intercept) + effects, laws["user_weights"].mean.detach().numpy()]


def information(x: np.ndarray, weight: np.ndarray, item: np.ndarray, variance: np.ndarray | float) -> np.ndarray:
    """X'WX - X'W1 1'WX / (1 / v_i + 1'W1), summed over items (see above)."""
    total = np.bincount(item, weight, ITEMS)
    sums = np.stack([np.bincount(item, weight * column, ITEMS) for column in x.T], 1)
    return (x * weight[:, None]).T @ x - (sums / (1 / np.asarray(variance) + total)[:, None]).T @ sums


def additive(world: RecordWorld, drawn: SimulatedRecords, run: Run) -> Estimates:
    """Intercept, slopes and gamma; there is nothing of the items drawn that the target does not know."""
    log, standard = drawn.log, GammaPoissonML().fit(exposure_counts(drawn.log)).standardised()
    unit = np.log(np.bincount(log.item, log.trials, ITEMS).mean() / (world.records / ITEMS))
    per_log = float(world.predictor.popularity_effect) / drawn.sd_log  # type: ignore[attr-defined]
    x, slopes, middle = scaled(world, drawn)
    gamma = per_log * standard.scale
    intercept = world.intercept + middle + per_log * (standard.location + unit - drawn.mean_log)
    truth = np.r_[intercept, slopes, gamma]
    prior: Any = standard.items.law
    zeta = (drawn.log_popularity - unit - standard.location) / standard.scale
    p = special.expit(x @ truth[:-1] + gamma * zeta[log.item])
    inner = information(
        np.c_[x, prior.mean.numpy()[log.item]],
        log.trials * p * (1 - p),
        log.item,
        (gamma * prior.stddev.numpy()) ** 2,
    )
    se = np.sqrt(np.diag(np.linalg.inv(inner)))
    gamma_found = float(run.posterior.item_effect.predictor.popularity_effect)  # type: ignore[attr-defined]
    found = np.r_[weights_found(run), gamma_found]
    return Estimates(("intercept", "slope 1", "slope 2", "gamma"), found, truth, se, truth, se)


def log_additive_clicks(world: RecordWorld, drawn: SimulatedRecords, run: Run) -> Estimates:
    """Intercept, slopes and the sd of log z; the intercept is that of E log z, plus sd^2 / 2."""
    log, sd, log_z = drawn.log, world.sd_log, drawn.log_popularity
    x, slopes, middle = scaled(world, drawn)
    truth = np.r_[world.intercept + middle, slopes, sd]
    rate = np.exp(x @ truth[:-1] + log_z[log.item])
    weight = log.trials * rate**2 / np.expm1(rate)
    known = np.bincount(log.item, weight, ITEMS)
    variance = np.diag(np.linalg.inv(information(x, weight, log.item, sd**2)))
    of_sd = 1 / (2 * sd**2 * (1 / (sd**2 + 1 / known) ** 2).sum())
    full = np.r_[variance[0] + sd**2 * of_sd, variance[1:], of_sd]
    oracle = np.r_[sd**2 / ITEMS + sd**4 / (2 * ITEMS), 0, 0, sd**2 / (2 * ITEMS)]
    best = np.r_[truth[0] + log_z.mean() + log_z.var() / 2, slopes, log_z.std()]
    population: Any = run.posterior.population
    found = np.r_[weights_found(run), float(population.scale)]
    names = ("intercept", "slope 1", "slope 2", "sd of log z")
    return Estimates(names, found, truth, np.sqrt(full), best, np.sqrt(full - oracle))


def log_additive_counts(world: RecordWorld, drawn: SimulatedRecords, run: Run) -> Estimates:
    """Intercept, slopes and the log of the shape, whose information is that of negative binomial counts."""
    log, z = drawn.log, torch.as_tensor(np.exp(drawn.log_popularity))
    x, slopes, middle = scaled(world, drawn)
    truth = np.r_[world.intercept + middle, slopes, np.log(SHAPE)]
    weight = log.trials * np.exp(x @ truth[:-1])
    total = np.bincount(log.item, weight, ITEMS)
    of_shape = 1 / sum(shape_information(SHAPE, mean) for mean in total) / SHAPE**2
    full = np.r_[np.diag(np.linalg.inv(information(x, weight, log.item, 1 / SHAPE))), of_shape]
    floor = 1 / (ITEMS * (special.polygamma(1, SHAPE) - 1 / SHAPE)) / SHAPE**2
    oracle = np.r_[1 / (SHAPE * ITEMS), 0, 0, floor]
    shape = float(match_gamma(z.mean(), z.log().mean()).concentration)
    best = np.r_[truth[0] + float(z.mean().log()), slopes, np.log(shape)]
    population: Any = run.posterior.population
    found = np.r_[weights_found(run), np.log(float(population.concentration))]
    names = ("intercept", "slope 1", "slope 2", "log shape")
    return Estimates(names, found, truth, np.sqrt(full), best, np.sqrt(full - oracle))


def shape_information(a: float, mean: float) -> float:
    """psi1(a) - E psi1(a + K) - m / (a (a + m)), K negative binomial with mean m and shape a."""
    law = stats.nbinom(a, a / (a + mean))
    k = np.arange(int(law.ppf(1 - 1e-9)) + 2)
    return float(special.polygamma(1, a) - law.pmf(k) @ special.polygamma(1, a + k) - mean / (a * (a + mean)))


def clicks_world(records: int) -> RecordWorld:
    return RecordWorld(USERS, ITEMS, records, exposure_power=0.0, predictor=LogAdditive(), family=Cloglog())


DESIGNS = {
    "additive, clicks": Design(
        lambda n: RecordWorld(USERS, ITEMS, n), PopularityModel(Linear(), source=ExposureCounts()), additive
    ),
    "log-additive, clicks": Design(
        clicks_world,
        PopularityModel(Linear(), Cloglog(), LogAdditive(), LogNormal()),
        log_additive_clicks,
    ),
    "log-additive, counts": Design(
        lambda n: GammaWorld(USERS, ITEMS, n, exposure_power=0.0, predictor=LogAdditive(), family=Poisson()),
        PopularityModel(Linear(), Poisson(), LogAdditive(), Gamma()),
        log_additive_counts,
    ),
}


def recovered(designs: dict[str, Design], sizes: tuple[int, ...], replicates: tuple[int, ...]) -> pd.DataFrame:
    """One row a design, size, replicate and parameter."""
    jobs = [(name, n, seed) for name in designs for n, r in zip(sizes, replicates, strict=True) for seed in range(r)]
    rows = []
    for name, n, seed in tqdm(jobs, unit="fit"):
        rows += designs[name].run(n, 1_000 + seed).rows(design=name, records=n, seed=seed)
    return pd.DataFrame(rows)


def largest(table: pd.DataFrame) -> pd.DataFrame:
    """The first replicate of the largest logs: found, truth, se, and how many se they are apart."""
    some = table[(table.records == table.records.max()) & (table.seed == 0)]
    some = some.assign(z=(some.found - some.truth) / some.se, z_drawn=(some.found - some.drawn) / some.drawn_se)
    return some.drop(columns=["records", "seed"]).set_index(["design", "parameter"])


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """By design, parameter and size: bias in se, root mean square of z, the largest |z|, from truth and items drawn."""
    full, drawn = (table.found - table.truth) / table.se, (table.found - table.drawn) / table.drawn_se
    by = [table.design, table.parameter, table.records]
    columns: dict[str, pd.Series] = {}
    for name, z in (("truth", full), ("drawn", drawn)):
        groups = z.groupby(by, sort=False)
        columns |= {
            f"mean z, {name}": groups.mean(),
            f"rms z, {name}": groups.apply(lambda x: float(np.sqrt((x**2).mean()))),
        }
        columns[f"max |z|, {name}"] = groups.apply(lambda x: float(x.abs().max()))
    return pd.DataFrame(columns)


def rates(table: pd.DataFrame) -> pd.DataFrame:
    """RMSE from the items drawn at every size, and the power of N with which it falls, by design and parameter.

    A log RMSE of R normal errors has variance about 1 / (2 R).
    """
    error = table.assign(square=(table.found - table.drawn) ** 2)
    groups = error.groupby(["design", "parameter", "records"], sort=False).square
    rmse, count = np.sqrt(groups.mean()).unstack(), groups.size().unstack()
    out = rmse.rename(columns=lambda n: f"rmse at {n:,}")
    fits = [
        slope(np.log(rmse.columns.to_numpy(float)), np.log(r), 2 * c)
        for r, c in zip(rmse.to_numpy(), count.to_numpy(), strict=True)
    ]
    return out.assign(exponent=[b for b, _ in fits], se=[s for _, s in fits])


def pooled(error: pd.DataFrame) -> pd.DataFrame:
    """Mean exponent of a design's parameters, with the standard error of independent ones."""
    groups = error.groupby(level="design", sort=False)
    mean, square = groups.exponent.mean(), groups.se.apply(lambda se: float(np.sqrt((se**2).sum()) / len(se)))
    return pd.DataFrame({"exponent": mean, "se": square})


def slope(x: np.ndarray, y: np.ndarray, precision: np.ndarray) -> tuple[float, float]:
    """Weighted least squares slope and its standard error, for values of known precision."""
    centred = x - np.average(x, weights=precision)
    return float(precision * centred @ y / (precision * centred @ centred)), float(
        (precision * centred @ centred) ** -0.5
    )


def split_information(intercept: float) -> tuple[float, float]:
    """Mean click rate, and information a record on log G of an item, the rest unknown: nine levels, five items."""
    t, item = np.tile(np.linspace(-2, 2, 9), 5), np.repeat(np.arange(5), 9)
    h, g = special.expit(intercept + np.linspace(-0.5, 0.5, 5)[item] + t), np.linspace(0.5, 0.9, 5)[item]
    p, own = g * h, np.eye(5)[item]
    jacobian = np.c_[p * (1 - h) * t, own * (p * (1 - h))[:, None], own * p[:, None]]
    inner = (jacobian / (p * (1 - p))[:, None]).T @ jacobian / len(t)
    return float(p.mean()), 1 / float(np.linalg.inv(inner)[6, 6])


def split_table() -> pd.DataFrame:
    """Information on the split by click rate, and the records that give log G an sd of .1."""
    rows = []
    for rate in RATES:
        at = np.interp(
            np.log(rate), *np.array([(np.log(split_information(b)[0]), b) for b in np.linspace(-9, 3, 400)]).T
        )
        p, information_ = split_information(float(at))
        rows.append({"click rate": p, "information a record": information_, "records for sd .1": 100 / information_})
    return pd.DataFrame(rows)


def exponent(table: pd.DataFrame) -> float:
    """Power of the click rate with which the information grows."""
    return float(np.polyfit(np.log(table["click rate"]), np.log(table["information a record"]), 1)[0])


def product_world(intercept: float, records: int) -> RecordWorld:
    return RecordWorld(USERS, ITEMS, records, intercept=intercept, exposure_power=0.0, predictor=ProductSaturation())


def split_of_fits(intercept: float, records: int, replicates: int) -> pd.DataFrame:
    """Error of mean log G, the split between popularity and intercept, of fits from two starts of lambda."""
    rows = []
    for seed in tqdm(range(replicates), unit="log"):
        world = product_world(intercept, records)
        drawn = world.simulate(2_000 + seed)
        truth = np.log(-np.expm1(-np.exp(drawn.log_popularity))).mean()
        for start in STARTS:
            model = PopularityModel(Linear(), predictor=ProductSaturation(start), popularity=LogNormal())
            run = pr.fit(model, drawn.log, seed=seed, training=TRAINING, context=pr.Context(progress=False))
            law, predictor = run.posterior.popularity, run.posterior.item_effect.predictor
            found = expected_log_link(law, predictor).mean()
            rate = drawn.log.value.sum() / drawn.log.trials.sum()
            rows.append(
                {
                    "rate": rate,
                    "seed": seed,
                    "start": start,
                    "error": float(found) - truth,
                    "se": split_se(world, drawn),
                }
            )
    return pd.DataFrame(rows)


def split_se(world: RecordWorld, drawn: SimulatedRecords) -> float:
    """Of mean log G against the intercept by the information, slopes and every item's log G free."""
    x, slopes, middle = scaled(world, drawn)
    item = drawn.log.item
    h = special.expit(x @ np.r_[world.intercept + middle, slopes])
    p = h * -np.expm1(-np.exp(drawn.log_popularity))[item]
    weight = drawn.log.trials * p / (1 - p)
    inner = x * (1 - h)[:, None]
    total = np.bincount(item, weight, ITEMS)
    sums = np.stack([np.bincount(item, weight * column, ITEMS) for column in inner.T], 1)
    covariance = np.linalg.inv((inner * weight[:, None]).T @ inner - (sums / total[:, None]).T @ sums)
    pull = (sums / total[:, None]).mean(0)  # mean log G moves by minus this with the weights
    return float(np.sqrt((1 / total).sum() / ITEMS**2 + pull @ covariance @ pull))


def picture(table: pd.DataFrame, split: pd.DataFrame) -> None:
    """RMSE against N by design, and information on the split against the click rate."""
    error, sizes = rates(table), np.sort(table.records.unique())
    with rc_context(STYLE):
        figure, axes = canvas(4, height=2.9, width=11.0)
        for axis, name in zip(axes[0], DESIGNS, strict=False):
            draw_errors(axis, error.loc[name], sizes)
            axis.set(title=name, xlabel="interactions N")
        axes[0, 0].set_ylabel("RMSE, items drawn")
        last, rate, found = axes[0, 3], split["click rate"].to_numpy(), split["information a record"].to_numpy()
        last.loglog(rate, found, color=BLUE, marker="o", label=f"exponent {exponent(split):.2f}")
        last.loglog(rate, found[-1] * (rate / rate[-1]) ** 3, color=GREY, linestyle="--", label="P³")
        last.set(title="product: log G against d", xlabel="mean click rate P", ylabel="information a record")
        last.legend(loc="lower right")
        FIGURE.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(FIGURE, dpi=DPI)


def draw_errors(axis: Axes, error: pd.DataFrame, sizes: np.ndarray) -> None:
    """RMSE of every parameter of one design, and the rate it should fall at."""
    styles = zip((BLUE, VERMILION, GREEN, PURPLE), "os^D", strict=True)
    rmse = error.to_numpy()[:, : len(sizes)]
    for parameter, row, (colour, marker) in zip(error.index, rmse, styles, strict=True):
        axis.loglog(sizes, row, color=colour, marker=marker, label=parameter)
    middle = np.exp(np.log(rmse[:, 0]).mean())
    axis.loglog(sizes, middle * np.sqrt(sizes[0] / sizes), color=GREY, linestyle="--", label="1 / √N")
    axis.set_ylim(2e-3, 0.3)
    axis.legend(loc="upper right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one or two replicates of each size, no figure")
    parser.add_argument("--output", type=Path, help="CSV of every fit")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = recovered(DESIGNS, SIZES, (2, 1, 1) if arguments.quick else REPLICATES)
    if arguments.output:
        table.to_csv(arguments.output, index=False)
    split = split_table()
    for found in (largest(table), scores(table), rates(table), pooled(rates(table)), split):
        print(found.to_string(float_format=lambda x: f"{x:.4g}"), "\n")
    print(f"information on the split: P^{exponent(split):.2f}, at the last two rates P^{exponent(split[2:]):.2f}\n")
    fits = pd.concat([split_of_fits(b, 20_000, 1 if arguments.quick else 3) for b in (0.0, -3.6)])
    print(fits.to_string(float_format=lambda x: f"{x:.4g}"))
    if not arguments.quick:
        picture(table, split)


if __name__ == "__main__":
    main()
