"""Counting a KL, and counting data."""

from __future__ import annotations

import math

from benchmarks.errata.registry import Numbers, erratum


@erratum("B14")
def double_use() -> Numbers:
    """Posterior sd where 31 events under exposure 31 serve in the prior too, population Gamma(2, 2) (maths 1.3)."""
    once, twice = (math.sqrt(2 + k * 31) / (2 + k * 31) for k in (1, 2))
    return {"posterior sd over the honest one": (twice / once, 1.0)}


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
