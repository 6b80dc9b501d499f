"""The Laplace proposal: Newton steps on log p(y_t | z_t) + log p(z_t | z_{t−1}), for every observation model."""

from __future__ import annotations

import torch

from ..gaussian import Gaussian, Message, _apply
from .base import Proposal

HALVINGS = 8
ROUNDING = 1e-6  # of a density: at the mode itself no step is uphill in float32


class Laplace(Proposal):
    """q = N(ẑ, (P⁻¹ + J)⁻¹) for every particle: mode and Fisher curvature J of the likelihood of the seen neurons times the prior.

    At z the log-likelihood is replaced by its gradient g and Fisher information J, a Gaussian message with precision J and
    shift g + J z; its product with the prior is q, whose mean is the next z (Fisher scoring; Doucet, Godsill, Andrieu 2000).
    Differentiable, without parameters; exact, and equal to `LinearGaussian`, where the likelihood is Gaussian.

    Parameters
    ----------
    steps : int
        Newton steps from the prior's mean, at least 1. A step is halved until it does not lower a particle's density.
    """

    def __init__(self, *, steps: int = 2):
        super().__init__()
        if steps < 1:
            raise ValueError(f"Laplace: steps must be at least 1; got {steps}. Leave it out for 2.")
        self.steps = steps

    def propose(self, model, prior, about):
        prior = super().propose(model, prior, about)
        return newton(model.observation, prior, about, self.steps)


def newton(observation, prior: Gaussian, about, steps: int) -> Gaussian:
    """N(ẑ, (P⁻¹ + J)⁻¹) after `steps` Newton steps from the prior's mean, J from where the last one set out.

    prior : mean (B, R) or (K, B, R)
    """
    if prior.mean.dim() == 2:  # z_1, whose mean all particles share
        prior = Gaussian(prior.mean[None], prior.scale)

    def density(z):
        return observation.log_prob(about.y, z, about.seen, about.past) + prior.log_prob(z)

    z, _ = prior.mean, (prior.scale.inverse, prior.scale.log_normaliser)  # kept by the scale: with their gradients, so not in `_uphill`
    for _ in range(steps):
        gradient, precision = observation.curvature(about.y, z, about.seen, about.past)
        product = prior.times(Message(precision, gradient + _apply(precision, z)))
        z = _uphill(density, z, product.mean)
    return Gaussian(z, product.scale)


def _uphill(density, z, target):
    """z + the longest of 1, ½, ¼, … of the way to the target that does not lower a particle's density; z itself if none does."""
    with torch.no_grad():
        start, floor = z.detach(), density(z)
        share, step = torch.ones_like(floor), target.detach() - start
        for _ in range(HALVINGS):
            worse = ~(density(start + share[..., None] * step) >= floor - ROUNDING * floor.abs())
            if not worse.any():
                break
            share = torch.where(worse, share / 2, share)
        else:
            share = torch.where(worse, 0.0, share)
    return target if (share == 1).all() else z + share[..., None] * (target - z)
