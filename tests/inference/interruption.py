"""A fit that is stopped between two epochs, for the tests of going on with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pyrorec.inference import train as loop
from pyrorec.inference.train import Fitting


class Interrupted(Exception):
    """In place of the signal that stops a process."""


@contextmanager
def stopping_after(epochs: int) -> Iterator[None]:
    """What trains inside must begin another epoch (finishing ones count too), and is stopped as it does."""
    original, left = loop.run_epoch, [epochs]

    def run_epoch(fitting: Fitting) -> dict[str, Any]:
        if not left[0]:
            raise Interrupted
        left[0] -= 1
        return original(fitting)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "run_epoch", run_epoch)
        with pytest.raises(Interrupted):
            yield
