"""The one error a user is meant to read."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used; the message names what, where, and the remedy in one sentence."""
