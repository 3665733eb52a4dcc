"""A probability held as two logarithms, so that neither it nor its complement loses digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrorec.models.special import common_dtype, log1mexp

LOG_HALF = -0.6931471805599453


class LogProbability(NamedTuple):
    """log P and log(1 - P), each to full relative accuracy."""

    log: Tensor
    log1m: Tensor

    @property
    def value(self) -> Tensor:
        """P itself: below one half from log(1 - P), where a rounded log P would cost digits; else from log P."""
        return torch.where(self.log1m > LOG_HALF, -torch.expm1(self.log1m), torch.exp(self.log))

    @property
    def complement(self) -> LogProbability:
        """The probability of the opposite."""
        return LogProbability(self.log1m, self.log)

    @classmethod
    def from_log(cls, log: Tensor) -> LogProbability:
        """From log P < 0 alone, accurate where P is not close to one."""
        return cls(log, log1mexp(-log))

    @classmethod
    def from_smaller(cls, log: Tensor, of_complement: Tensor) -> LogProbability:
        """From the log of whichever of P and 1 - P was computed; where `of_complement`, it was 1 - P."""
        other = log1mexp(-log)
        return cls(torch.where(of_complement, other, log), torch.where(of_complement, log, other))

    @classmethod
    def from_both(cls, p: Tensor, rest: Tensor) -> LogProbability:
        """From P and 1 - P, each a sum of positive terms: of the smaller, as the larger has lost digits near one.

        A sum that underflows counts as the smallest normal number, with no gradient.
        """
        smaller = torch.minimum(p, rest).clamp_min(torch.finfo(p.dtype).tiny)
        return cls.from_smaller(smaller.log(), rest < p)


def in_double(function: Callable[..., LogProbability]) -> Callable[..., LogProbability]:
    """Makes a probability of tensors and numbers compute in float64 and return the dtype of its arguments."""

    @wraps(function)
    def promoted(*values: Any) -> LogProbability:
        device = next((v.device for v in values if isinstance(v, Tensor)), None)
        doubles = [torch.as_tensor(v, dtype=torch.float64, device=device) for v in values]
        log, log1m = function(*doubles)
        dtype = common_dtype(*values)
        return LogProbability(log.to(dtype), log1m.to(dtype))

    return promoted
