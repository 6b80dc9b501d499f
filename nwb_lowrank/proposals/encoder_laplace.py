"""Encoder and Laplace in one: the network says what the local likelihood cannot know."""

from __future__ import annotations

from .encoder import Encoder
from .laplace import newton


class EncoderLaplace(Encoder):
    """q ∝ p(z_t | z_{t−1}) · the network's message · the likelihood's message at each particle's mode.

    The likelihood of bin t is taken as it is (`Laplace`), so that the network is left with what later bins say, and with what
    curvature misses. It learns by the wake phase like `Encoder`.

    Parameters
    ----------
    steps : int
        Newton steps, at least 1, from the mean of the prior times the network's message.
    channels, kernel, causal, precision
        Of `Encoder`.
    """

    def __init__(self, *, steps: int = 1, channels: int = 64, kernel: int = 11, causal: bool = False, precision: float = 0.01):
        super().__init__(channels=channels, kernel=kernel, causal=causal, precision=precision)
        if steps < 1:
            raise ValueError(f"EncoderLaplace: steps must be at least 1; got {steps}. Leave it out for 1.")
        self.steps = steps

    def propose(self, model, prior, about):
        return newton(model.observation, super().propose(model, prior, about), about, self.steps)
