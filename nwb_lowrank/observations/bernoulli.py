"""Bernoulli spikes: bins so short that they hold one spike or none."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import softplus

from .base import Link
from .counts import Counts


class Bernoulli(Counts):
    """y ~ Bernoulli(1 / (1 + exp(−η))), a spike or none (1 ms bins), η as in `Poisson`.

    Parameters
    ----------
    readout : Readout or None
        Affine() by default.
    history : SpikeHistory or None
    """

    expects = "0 or 1 in every bin (make the bins shorter)"

    def __init__(self, *, readout=None, history=None):
        super().__init__(Logistic(), readout=readout, history=history)

    @classmethod
    def allows(cls, values):
        return bool(np.isin(values, (0, 1)).all())

    def log_terms(self, y, eta, past=None):
        eta = self.with_past(eta, past)
        return y * eta - softplus(eta)

    def draw(self, eta, past, generator):
        return torch.bernoulli(self.expected(eta, past), generator=generator)

    def score_and_information(self, y, eta, past=None):
        p = self.expected(eta, past)
        return y - p, p * (1 - p)

    @torch.no_grad()
    def initialise(self, mean, loadings, variance):
        super().initialise(np.clip(mean, None, 1 - 1e-3), loadings, variance)


class Logistic(Link):
    """rate = 1 / (1 + exp(−η)), below 1."""

    def forward(self, eta):
        return torch.sigmoid(eta)

    def log(self, eta):
        return -softplus(-eta)

    def inverse(self, rate):
        return torch.logit(rate)

    def slope(self, eta):
        return torch.sigmoid(eta) * torch.sigmoid(-eta)

    def log_slope(self, eta):
        return torch.sigmoid(-eta)
