"""Whether uncertainty means something: wider intervals ought to go with larger errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

BAND = (0.05, 0.95)
DRAWS = 400


def errors_by_width(
    users: npt.ArrayLike,
    predicted: npt.ArrayLike,
    width: npt.ArrayLike,
    error: npt.ArrayLike,
    *,
    deciles: int = 10,
    bins: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Root mean squared error against width of interval, within deciles of the prediction; one row per bin of width.

    Arrays (cells,): user code, predicted mean, width (an interval's or an sd, above zero) and error. Errors and widths
    both grow with the prediction, so cells are compared with those of their own decile of it: each decile's cells are
    split into `bins` equally many by width, and `width` and `rmse` are relative to the mean width and to the root mean
    squared error of the decile, averaged over deciles (errors as squares). 1 everywhere in `rmse` means that widths say
    nothing; `rmse` equal to `width` that errors are in proportion. `lower` and `upper` are a 90 % band of `rmse` by a
    bootstrap over users. The last bin's rmse over the first's, with its band, stands in `.attrs["ratio"]`.
    Raises ValueError for arrays of unequal lengths and for fewer cells than one in each bin of each decile.
    """
    code = np.unique(np.asarray(users), return_inverse=True)[1]
    predicted, width, error = (np.asarray(x, dtype=np.float64) for x in (predicted, width, error))
    if not len(code) == len(predicted) == len(width) == len(error):
        raise ValueError("Users, predictions, widths and errors must be equally many.")
    if len(code) < deciles * bins:
        raise ValueError(f"{len(code)} cells do not fill {deciles} x {bins} bins; ask for fewer.")
    decile = _equal_parts(predicted, np.zeros(len(code), np.int64), deciles)
    place = decile * bins + _equal_parts(width, decile, bins)
    number = int(code.max()) + 1
    squares, cells = (_sums(code, place, each, (number, deciles * bins)) for each in (error**2, np.ones(len(code))))
    draws = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=DRAWS)
    once = _relative(squares.sum(0), cells.sum(0), deciles)
    drawn = np.stack([_relative(draw @ squares, draw @ cells, deciles) for draw in draws])
    relative = width / (np.bincount(decile, width) / np.bincount(decile))[decile]
    table = pd.DataFrame(
        {
            "width": np.bincount(place % bins, relative) / np.bincount(place % bins),
            "rmse": once,
            "lower": np.quantile(drawn, BAND[0], axis=0),
            "upper": np.quantile(drawn, BAND[1], axis=0),
        },
        index=pd.RangeIndex(1, bins + 1, name="bin"),
    )
    ratio = drawn[:, -1] / drawn[:, 0]
    table.attrs["ratio"] = (once[-1] / once[0], *np.quantile(ratio, BAND))
    return table


def _equal_parts(values: npt.NDArray[np.float64], group: npt.NDArray[np.int64], parts: int) -> npt.NDArray[np.int64]:
    """Return 0 to parts - 1 by rank within each group, equally many of each."""
    order = np.lexsort((values, group))
    size = np.bincount(group)
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values)) - np.repeat(np.cumsum(size) - size, size)
    found: npt.NDArray[np.int64] = rank * parts // size[group]
    return found


def _sums(
    row: npt.NDArray[np.int64], column: npt.NDArray[np.int64], each: npt.NDArray[np.float64], shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return sums of `each` by row and column."""
    flat = np.bincount(row * shape[1] + column, weights=each, minlength=shape[0] * shape[1])
    found: npt.NDArray[np.float64] = flat.astype(np.float64).reshape(shape)
    return found


def _relative(
    squares: npt.NDArray[np.float64], cells: npt.NDArray[np.float64], deciles: int
) -> npt.NDArray[np.float64]:
    """Return the root mean squared error of each bin, relative to its decile's, averaged over deciles."""
    squares, cells = squares.reshape(deciles, -1), cells.reshape(deciles, -1)
    inside = squares / np.maximum(cells, 1e-12)
    whole = squares.sum(1) / cells.sum(1)
    found: npt.NDArray[np.float64] = np.sqrt((inside / whole[:, None]).mean(0))
    return found
