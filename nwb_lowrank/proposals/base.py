"""What every proposal offers: the prior times a Gaussian message about z_t."""

from __future__ import annotations

from abc import ABC
from typing import NamedTuple

from torch import Tensor, nn

from ..gaussian import Gaussian, Message, Update
from ..recipe import build, recipe


class About(NamedTuple):
    """What may be known about bin t when its particles are proposed.

    y : (B, N) the observation, 0 where not seen
    u : (B, D) the input
    seen : (B, N) bool
    update : what the message of `look` does to the prior of z_t, or None
    past : what the observation model remembers of seen earlier bins, (B, N, F), or None
    """

    y: Tensor
    u: Tensor
    seen: Tensor
    update: Update | None
    past: Tensor | None = None


class Proposal(nn.Module, ABC):
    """q(z_t | z_{t−1}, y): every proposal of the paper is the prior times a Gaussian message.

    A rival that knows its messages before the loop implements `look` alone.
    """

    def attach(self, model) -> Proposal:
        """Size the parameters for `model`; proposals without parameters have nothing to do."""
        return self

    def initialise(self, summary, trials) -> None:
        """Start from what `initialise.summarise` found in the data."""

    def turn(self, A: Tensor, b: Tensor) -> None:
        """After `initialise`: the latents are z = f A + b of the factors f that it started from."""

    def restricted(self, model, neurons: Tensor, shown: int) -> Proposal:
        """The same proposal for a `model` of some of the neurons (indices), `shown` of which are ever seen."""
        return build(recipe(self)).attach(model)

    def look(self, model, y: Tensor, u: Tensor, seen: Tensor) -> Message | None:
        """Look once at whole trials, before the time loop.

        y, seen : (B, T, N);  u : (B, T, D).  Returns messages with leading shape (T, B), or None.
        """
        return None

    def propose(self, model, prior: Gaussian, about: About) -> Gaussian:
        """q(z_t) given the prior of z_t, whose mean is (B, R) or (K, B, R); a rival whose message depends on the particle overrides it."""
        return prior if about.update is None else about.update.apply(prior.mean)
