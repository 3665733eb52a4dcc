"""What families of positive amounts say of others."""

from __future__ import annotations

from torch import Tensor


def refuse_nonpositive(name: str, value: Tensor) -> str | None:
    """The refusal of values that are not above zero."""
    if bool((value > 0).all()):
        return None
    return (
        f"Family {name} takes amounts above zero, and the log holds {float(value.min()):g}: drop those rows, or use "
        "family hurdle-gamma for zeros and gaussian for negative values."
    )


def refuse_negative(name: str, value: Tensor) -> str | None:
    """The refusal of values below zero."""
    if bool((value >= 0).all()):
        return None
    return (
        f"Family {name} takes amounts of zero or more, and the log holds {float(value.min()):g}: use family gaussian."
    )
