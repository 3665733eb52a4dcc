"""Objectives: the ELBO with closed-form divergences, its Monte Carlo twin, and MAP."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import Trace_ELBO
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import kl_divergence


class MonteCarloELBO(Trace_ELBO):
    """Pyro's Trace_ELBO, which also leaves its terms behind.

    After each evaluation `terms` holds the log-likelihood under "value" and log q - log p of every latent
    site under its name, detached, scaled as they entered the loss.
    """

    terms: dict[str, Tensor]

    def _get_trace(self, model: Any, guide: Any, args: Any, kwargs: Any) -> tuple[Trace, Trace]:
        model_trace, guide_trace = super()._get_trace(model, guide, args, kwargs)
        guide_trace.compute_log_prob()
        self.terms = {}
        for name, site in latent_and_observed(model_trace):
            value = site["log_prob_sum"].detach()
            drawn = guide_trace.nodes.get(name)
            self.terms[name] = value if drawn is None else drawn["log_prob_sum"].detach() - value
        return model_trace, guide_trace


class AnalyticELBO(Trace_ELBO):
    """E_q log p(value | latents) by one draw, minus every KL in closed form.

    It never samples a divergence: a pair without a registered KL raises NotImplementedError naming the
    remedy. `terms` as in `MonteCarloELBO`, with exact KLs.
    """

    terms: dict[str, Tensor]

    def _differentiable_loss_particle(self, model_trace: Trace, guide_trace: Trace) -> tuple[Any, Any]:
        self.terms, elbo = {}, torch.zeros(())
        for name, site in latent_and_observed(model_trace):
            if site["is_observed"]:
                value = site["log_prob_sum"]
                elbo = elbo + value
            else:
                value = self.divergence(name, guide_trace.nodes[name]["fn"], site)
                elbo = elbo - value
            self.terms[name] = value.detach()
        return elbo.item(), -elbo

    @staticmethod
    def divergence(name: str, q: Any, site: dict[str, Any]) -> Tensor:
        """KL(q || p) of one site, scaled by its plates and by the KL weight."""
        try:
            kl = kl_divergence(q, site["fn"])
        except NotImplementedError as error:
            raise NotImplementedError(
                f"site '{name}' has no closed-form KL({type(q).__name__} || {type(site['fn']).__name__}): "
                "train with the Monte Carlo ELBO (MonteCarlo()) or register one with torch's register_kl"
            ) from error
        return scale_and_mask(kl, site["scale"], site["mask"]).sum()


def latent_and_observed(trace: Trace) -> list[tuple[str, Any]]:
    """Sites that carry a log-probability; plates do not."""
    return [
        (name, site)
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and type(site["fn"]).__name__ != "_Subsample"
    ]
