"""What models of spike counts share: a link, a spike history, a start from mean rates, a weak prior."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Link, Observation, Softplus
from .history import SpikeHistory


class Counts(Observation):
    """Counts whose mean is link(η), η = readout(z) plus what the neuron's own past adds.

    Parameters
    ----------
    link : Link or None
        None: Softplus().
    readout : Readout or None
        None: Affine().
    history : SpikeHistory or None
        None: a bin knows nothing of the bins before it.
    """

    def __init__(self, link: Link | None = None, *, readout=None, history: SpikeHistory | None = None):
        super().__init__(readout=readout)
        self.link = link or Softplus()
        self.history = history

    @property
    def reach(self) -> int:
        return self.history.bins if self.history else 0

    def attach(self, rank, neurons):
        super().attach(rank, neurons)
        if self.history:
            self.history.attach(neurons)
        return self

    def with_past(self, eta: Tensor, past: Tensor | None) -> Tensor:
        """η plus the spike history's part."""
        return eta if past is None or self.history is None else eta + self.history(past)

    def remember(self, y, mask):
        return self.history.remember(y, mask) if self.history else None

    def recall(self, window):
        return self.history.recall(window) if self.history else None

    def expected(self, eta, past=None):
        return self.link(self.with_past(eta, past))

    def log_prior(self):
        """Loadings N(0, 1), log-rate units per unit of z, and half a spike more per neuron, seen at z = 0."""
        prior = 0.5 * self.link.log(self.bias).sum() + self.readout.log_prior()
        return prior + self.history.log_prior() if self.history else prior

    @torch.no_grad()
    def initialise(self, mean, loadings, variance):
        mean, loadings = (torch.as_tensor(x).to(next(self.parameters())) for x in (mean, loadings))
        eta = self.link.inverse(mean)
        slope = loadings / self.link.slope(eta)[:, None]
        self.readout.initialise(eta, slope)
        # A convex link lifts the mean rate of a fluctuating readout: bring the mean back by Newton steps on d.
        z = torch.randn(2000, loadings.shape[1], generator=torch.Generator().manual_seed(0)).to(mean)
        for _ in range(50):
            eta = self.readout(z)
            error = self.link(eta).mean(0) - mean
            self.readout.shift(-(error / self.link.slope(eta).mean(0)).clamp(-1, 1))
        if self.history:
            self.history.typical.copy_(mean)
