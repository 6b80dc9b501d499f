"""Spike history: what a neuron's own recent spikes do to its rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad


class SpikeHistory(nn.Module):
    """η_t += Σ_f w_f Σ_l b_f(l) (y_{t−l} − ȳ): refractoriness, bursting and rhythm of every neuron by itself.

    The filter of each neuron is a sum of raised cosines, narrow for the latest bins and wide for older ones (Pillow et al.
    2008), so that few weights reach far back. Spikes count relative to the neuron's mean ȳ: a bin that was not recorded,
    or lies before the trial, counts as the mean and so adds nothing.

    Parameters
    ----------
    bins : int
        How many bins back the filter reaches.
    basis : int
        Raised cosines; at most `bins`.
    """

    def __init__(self, *, bins: int = 20, basis: int = 5):
        super().__init__()
        if not 1 <= basis <= bins:
            raise ValueError(f"SpikeHistory: basis must lie between 1 and bins; got basis={basis}, bins={bins}. Lower basis.")
        self.bins, self.basis = bins, basis

    def attach(self, neurons: int) -> SpikeHistory:
        """Create the weights (N, F), at 0."""
        self.weights = nn.Parameter(torch.zeros(neurons, self.basis))
        self.register_buffer("typical", torch.zeros(neurons))
        self.register_buffer("cosines", raised_cosines(self.bins, self.basis))
        return self

    def forward(self, past: Tensor) -> Tensor:
        """What the past (..., N, F) adds to η, (..., N)."""
        return (past * self.weights).sum(-1)

    def filters(self) -> Tensor:
        """(N, L) what one spike adds to η, 1 to L bins later."""
        return self.weights @ self.cosines

    def remember(self, y: Tensor, mask: Tensor) -> Tensor:
        """(B, T, N) -> (B, T, N, F)."""
        B, T, N = y.shape
        surprise = ((y - self.typical) * mask).permute(0, 2, 1).reshape(B * N, 1, T)
        earlier = pad(surprise, (self.bins, 0))[..., :-1]
        features = conv1d(earlier, self.cosines.flip(-1)[:, None])
        return features.unflatten(0, (B, N)).permute(0, 3, 1, 2)

    def recall(self, window: Tensor) -> Tensor | None:
        """(..., L, N) -> (..., N, F)."""
        L = window.shape[-2]
        latest = self.cosines[:, :L].flip(-1)
        return torch.einsum("...ln,fl->...nf", window - self.typical, latest) if L else None

    def log_prior(self) -> Tensor:
        """Weights N(0, 1)."""
        return -0.5 * self.weights.square().sum()


def raised_cosines(bins: int, number: int) -> Tensor:
    """(F, L) bumps over lags 1 … L, evenly spaced in log(lag + ½); each peaks at 1."""
    place = torch.log(torch.arange(1, bins + 1) + 0.5)
    centres = torch.linspace(math.log(1.5), math.log(bins + 0.5), number)
    spacing = (centres[1] - centres[0]).item() if number > 1 else 1e9
    angle = ((place - centres[:, None]) * (math.pi / 2) / spacing).clamp(-math.pi, math.pi)
    bumps = 0.5 * (1 + angle.cos())
    return bumps / bumps.amax(1, keepdim=True)
