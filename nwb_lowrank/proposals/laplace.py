"""The Laplace proposal: Newton steps on log p(y_t | z_t) + log p(z_t | z_{t−1}), for every observation model."""

from __future__ import annotations

from ..gaussian import Gaussian, Message, _apply
from .base import Proposal

HALVINGS = 3


class Laplace(Proposal):
    """q = N(ẑ, (P⁻¹ + J)⁻¹) for every particle: mode and Fisher curvature J of the likelihood of the seen neurons times the prior.

    At z the log-likelihood is replaced by its gradient g and Fisher information J, a Gaussian message with precision J and
    shift g + J z; its product with the prior is q, whose mean is the next z (Fisher scoring; Doucet, Godsill, Andrieu 2000).
    Differentiable, without parameters; exact, and equal to `LinearGaussian`, where the likelihood is Gaussian.

    Parameters
    ----------
    steps : int
        Newton steps from the prior's mean, at least 1. Every step but the last is halved where it would lower the density.
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
    """The prior times the message of the likelihood at the point that `steps` − 1 Newton steps lead to.

    prior : mean (B, R) or (K, B, R)
    """
    if prior.mean.dim() == 2:  # z_1, whose mean all particles share
        prior = Gaussian(prior.mean[None], prior.scale)
    z = prior.mean
    for step in range(steps):
        gradient, precision = observation.curvature(about.y, z, about.seen)
        product = prior.times(Message(precision, gradient + _apply(precision, z)))
        if step + 1 < steps:
            z = _uphill(observation, prior, about, z, product.mean)
    return product


def _uphill(observation, prior: Gaussian, about, z, target):
    """z + the longest of 1, ½, ¼, … of the way to the target that does not lower a particle's density; z itself if none does."""

    def density(z):
        return observation.log_prob(about.y, z, about.seen) + prior.log_prob(z)

    before = density(z)
    for _ in range(HALVINGS):
        worse = ~(density(target) >= before)
        if not worse.any():
            return target
        target = target.lerp(z, 0.5 * worse[..., None].to(z))
    return target.lerp(z, (~(density(target) >= before))[..., None].to(z))
