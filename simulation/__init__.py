"""Worlds with known truth, and how well it is recovered."""

from __future__ import annotations

from pyrorec.data.truth import Truth
from pyrorec.simulation.coverage import interval_coverage, recovery, recovery_by_group
from pyrorec.simulation.impressions import logged_impressions, policy_value, popularity_policy
from pyrorec.simulation.world import FrailtyWorld, Simulated

__all__ = [
    "FrailtyWorld",
    "Simulated",
    "Truth",
    "interval_coverage",
    "logged_impressions",
    "policy_value",
    "popularity_policy",
    "recovery",
    "recovery_by_group",
]
