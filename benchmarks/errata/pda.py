"""PDA."""

from __future__ import annotations

import math

from benchmarks.errata.registry import Numbers, erratum


@erratum("B20")
def elu() -> Numbers:
    """ELU and ELU + 1, and PDA's score at u.i = 2, share .02, gamma = .2 (maths 1.2)."""
    return {
        "factor for u.i = -3": (math.expm1(-3.0), math.exp(-3.0)),
        "score at u.i = 2, share .02, gamma .2, against a bound of 1": (1.0, 3 * 0.02**0.2),
    }
