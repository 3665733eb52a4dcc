"""Expectations over a law of popularity by closed forms and deterministic quadrature (maths 4.3, 4.4, 5)."""
