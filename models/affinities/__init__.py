"""Affinities: what user and item have to do with each other, popularity apart."""

from pyrorec.models.affinities.dot import dot_mean, dot_variance, log_mean_exp_factors

__all__ = ["dot_mean", "dot_variance", "log_mean_exp_factors"]
