"""Where the prior of an item's popularity comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pyrorec.models.component import Component
from pyrorec.models.registry import Registry


class PriorSource(Component):
    """What is known of an item's popularity before its outcomes are seen (maths 3.7: never from the same data)."""

    registry: ClassVar[Registry[PriorSource]] = Registry("prior source")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry.add(cls)


@dataclass(frozen=True)
class LearnedPopulation(PriorSource):
    """Nothing of one item: all share the population's law, whose parameters are learned in the ELBO (maths 3.6)."""

    name: ClassVar[str] = "learned"


@dataclass(frozen=True)
class ExposureCounts(PriorSource):
    """How often each item was shown, by empirical Bayes; allowed where the outcome is modelled given exposure.

    `rule` names a rule of `pyrorec.inference.empirical_bayes`; "auto" takes the one for the popularity distribution.
    """

    name: ClassVar[str] = "exposure"

    rule: str = "auto"


@dataclass(frozen=True)
class EarlierPeriods(PriorSource):
    """The clicks or counts of the earliest `share` of the log, by empirical Bayes (`rule`); the rest is fitted."""

    name: ClassVar[str] = "earlier"

    share: float = 0.5
    rule: str = "auto"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share must lie strictly between 0 and 1, not {self.share}")
