"""Objectives: the ELBO with closed-form divergences, and its Monte Carlo twin."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO
from pyro.infer.util import is_validation_enabled
from pyro.poutine import Trace
from pyro.util import check_model_guide_match
from torch import Tensor

from pyrorec.models.distributions.divergence import InfiniteDivergence, closed_form_kl
from pyrorec.models.laws import single


class RecordedELBO(Trace_ELBO):
    """A Trace_ELBO that leaves its terms behind.

    After each evaluation `terms` holds the log-likelihood of every observed site (their names in `observed`) and the
    divergence of every latent one: detached, scaled as they entered the loss, averaged over particles.
    """

    terms: dict[str, Tensor]
    observed: frozenset[str] = frozenset()

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """Minus the ELBO, with gradient."""
        self.terms = {}
        return super().differentiable_loss(model, guide, *args, **kwargs)

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        """Minus the ELBO, as a number."""
        self.terms = {}
        return super().loss(model, guide, *args, **kwargs)

    def record(self, name: str, value: Tensor, observed: bool) -> None:
        """Adds one particle's share of a term."""
        if observed:
            self.observed |= {name}
        self.terms[name] = self.terms.get(name, torch.zeros((), device=value.device)) + (
            value.detach() / self.num_particles
        )


class MonteCarloELBO(RecordedELBO):
    """Pyro's Trace_ELBO itself: log q - log p of every latent at its draw."""

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        model_trace, guide_trace = super()._get_trace(model, guide, args, kwargs)
        guide_trace.compute_log_prob()
        for name, site in latent_and_observed(model_trace):
            value, drawn = site["log_prob_sum"], guide_trace.nodes.get(name)
            self.record(name, value if drawn is None else drawn["log_prob_sum"] - value, site["is_observed"])
        return model_trace, guide_trace


class AnalyticELBO(RecordedELBO):
    """E_q log p(value | latents) by one draw, minus every KL in closed form.

    It never samples a divergence: a pair without a registered KL raises NotImplementedError naming the remedy.
    """

    def loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        with torch.no_grad():
            return float(self.differentiable_loss(model, guide, *args, **kwargs))

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        """The guide's trace and the model's replayed on it, without the densities of latents, which nobody reads."""
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
        if is_validation_enabled():
            check_model_guide_match(model_trace, guide_trace, self.max_plate_nesting)
        return model_trace, guide_trace

    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[Any, Any]:
        elbo: Any = 0.0
        for name, site in latent_and_observed(model_trace):
            if site["is_observed"]:
                value = scaled_sum(self.log_likelihood(name, site, guide_trace), site)
                elbo = elbo + value
            else:
                value = self.divergence(name, guide_trace.nodes[name]["fn"], site)
                elbo = elbo - value
            self.record(name, value, site["is_observed"])
        return -elbo.item(), -elbo

    def log_likelihood(self, name: str, site: Any, guide_trace: Trace) -> Tensor:
        """Log-probability of an observed site at the draws of the latents.

        Raises NotImplementedError for a latent whose draws carry no gradient, which would be left out without a word.
        """
        for latent, node in latent_and_observed(guide_trace):
            if not (node["fn"].has_rsample or node["is_observed"]):
                raise NotImplementedError(
                    f"draws of site '{latent}' ({type(single(node['fn'])).__name__}) carry no gradient: train with "
                    "Expected(), which draws no popularity, or with ScoreFunction()"
                )
        value: Tensor = site["fn"].log_prob(site["value"])
        return value

    def divergence(self, name: str, q: Any, site: Any) -> Tensor:
        """KL(q || p) of one site, scaled by its plates and by the KL weight."""
        try:
            kl = closed_form_kl(q, site["fn"])
        except (NotImplementedError, InfiniteDivergence) as error:
            raise type(error)(f"site '{name}': {error}") from error
        return scaled_sum(kl, site)


class ExpectedELBO(AnalyticELBO):
    """E_q log p(value | latents) with popularity integrated, in closed form or by deterministic quadrature.

    The model says how: an observed site carries infer["expected"], a function of the posteriors and draws of its
    latents (maths 5). A site without one raises NotImplementedError naming the alternative; nothing is sampled in
    its place.
    """

    how: ClassVar[str] = "expected"
    """The entry of a site's `infer` that is asked."""

    def log_likelihood(self, name: str, site: Any, guide_trace: Trace) -> Tensor:
        if self.how not in site["infer"]:
            raise NotImplementedError(
                f"site '{name}' does not say how to integrate its latents: train with the analytic ELBO, Analytic(), "
                "which draws them, or fit a PopularityModel"
            )
        latent = dict(latent_and_observed(guide_trace))
        laws = {site_name: single(node["fn"]) for site_name, node in latent.items()}
        value: Tensor = site["infer"][self.how](laws, {site_name: node["value"] for site_name, node in latent.items()})
        return value


class BoundedELBO(ExpectedELBO):
    """A lower bound of the ELBO: infer["bounded"] of an observed site is never above its expected log-likelihood."""

    how: ClassVar[str] = "bounded"


def scaled_sum(value: Tensor, site: Any) -> Tensor:
    """Sum of a site's batch of values under its plates' scale and its mask."""
    return scale_and_mask(value, site["scale"], site["mask"]).sum()


def latent_and_observed(trace: Trace) -> list[tuple[str, Any]]:
    """Sites that carry a log-probability; plates do not."""
    return [
        (name, site)
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample"
    ]
