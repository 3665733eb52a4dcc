"""All fits, and how far they lie from the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.recovery.designs import Design


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
