"""Calcium fluorescence: an indicator that rises with activity and decays by itself."""

from __future__ import annotations

import math

import torch
from torch import nn

from .base import Link, Observation, Softplus
from .gaussian import noise_prior

EVENTS = 0.3  # per bin at z = 0, where a fit starts
DECAYS = (0.2, 0.98)  # of the first estimate


class Calcium(Observation):
    """y_t ~ N(γ y_{t−1} + α λ(z_t) + β, σ²), λ = link(η) events per bin; γ, α, β and σ per neuron.

    So dF/F is fitted as dF/F: the latents explain what drives the indicator, not its slow decay (the AR(1) model of
    Vogelstein et al. 2010, with the rate in place of the spikes).

    Parameters
    ----------
    link : Link or None
        None: Softplus().
    readout : Readout or None
        Affine() by default.

    Notes
    -----
    Where y_{t−1} was not recorded (first bins, gaps), y_t ~ N((α λ(z_t) + β) / (1 − γ), s²): the level on which this
    rate would settle, with a standard deviation s of its own, learned from such bins.
    """

    counts = False
    expects = "a continuous signal"
    reach = 1

    def __init__(self, link: Link | None = None, *, readout=None):
        super().__init__(readout=readout)
        self.link = link or Softplus()

    def attach(self, rank, neurons):
        super().attach(rank, neurons)
        self.decay_logit = nn.Parameter(torch.full((neurons,), math.log(0.8 / 0.2)))
        self.log_gain, self.offset = nn.Parameter(torch.zeros(neurons)), nn.Parameter(torch.zeros(neurons))
        self.log_sd, self.log_start_sd = nn.Parameter(torch.zeros(neurons)), nn.Parameter(torch.zeros(neurons))
        self.register_buffer("first_decay", torch.zeros(neurons))
        self.register_buffer("typical", torch.ones(2))  # variances of the rise and of first bins, over neurons
        return self

    @property
    def decay(self):
        """γ (N,), the share of fluorescence that one bin keeps."""
        return torch.sigmoid(self.decay_logit)

    def events(self, z):
        """λ(z), expected events per bin, (..., R) -> (..., N)."""
        return self.link(self.readout(z))

    def _moments(self, eta, past):
        """Mean of y, its standard deviation, and the mean's derivative by α λ."""
        drive, settles = self.log_gain.exp() * self.link(eta) + self.offset, 1 / (1 - self.decay)
        if past is None:
            return drive * settles, self.log_start_sd.exp(), settles
        before, known = past[..., 0], past[..., 1] > 0
        mean = torch.where(known, self.decay * before + drive, drive * settles)
        return mean, torch.where(known, self.log_sd, self.log_start_sd).exp(), torch.where(known, 1.0, settles)

    def log_terms(self, y, eta, past=None):
        mean, sd, _ = self._moments(eta, past)
        return -0.5 * ((y - mean) / sd).square() - sd.log() - 0.5 * math.log(2 * math.pi)

    def expected(self, eta, past=None):
        return self._moments(eta, past)[0]

    def draw(self, eta, past, generator):
        mean, sd, _ = self._moments(eta, past)
        return mean + sd * torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)

    def score_and_information(self, y, eta, past=None):
        mean, sd, weight = self._moments(eta, past)
        slope = weight * self.log_gain.exp() * self.link.slope(eta)
        return (y - mean) / sd.square() * slope, (slope / sd).square()

    def remember(self, y, mask):
        before, known = torch.zeros_like(y), torch.zeros_like(y)
        before[:, 1:], known[:, 1:] = (y * mask)[:, :-1], mask[:, :-1].to(y)
        return torch.stack([before, known], -1)

    def recall(self, window):
        return torch.stack([window[..., -1, :], torch.ones_like(window[..., -1, :])], -1) if window.shape[-2] else None

    def activity(self, y, mask):
        """(y_t − γ y_{t−1}) / (1 − γ), with the first estimate of γ: the level towards which y is driven."""
        before, known = self.remember(y, mask).unbind(-1)
        return (y - self.first_decay * before) / (1 - self.first_decay), mask & (known > 0)

    def log_prior(self):
        """Loadings N(0, 1); λ at z = 0 gamma distributed with shape 3/2 and mean 3, so that α and λ do not trade without end.

        Noise as of `GaussianSignal`.
        """
        noise = noise_prior(self.log_sd, self.typical[0]) + noise_prior(self.log_start_sd, self.typical[1])
        return noise + self.readout.log_prior() + 0.5 * self.link(self.bias).log().sum() - 0.5 * self.link(self.bias).sum()

    @torch.no_grad()
    def tune(self, y, mask):
        """γ from the autocovariance at lags 2 and 1, which noise of single frames does not enter."""
        weight = mask.to(y)
        centred = (y - (y * weight).sum((0, 1)) / weight.sum((0, 1)).clamp_min(1)) * weight

        def covariance(lag):
            pairs = (weight[:, lag:] * weight[:, :-lag]).sum((0, 1)).clamp_min(1)
            return (centred[:, lag:] * centred[:, :-lag]).sum((0, 1)) / pairs

        if y.shape[1] > 2:
            decay = (covariance(2) / covariance(1).clamp_min(1e-12)).clamp(*DECAYS)
            self.decay_logit.copy_(torch.logit(decay))
            self.first_decay.copy_(decay)

    @torch.no_grad()
    def initialise(self, mean, loadings, variance):
        mean, loadings, variance = (torch.as_tensor(x).to(self.log_sd) for x in (mean, loadings, variance))
        keep = 1 - self.decay
        scale = (variance + loadings.square().sum(1)).clamp_min(1e-12).sqrt()  # α makes one event about one sd of activity
        eta = self.link.inverse(torch.full_like(mean, EVENTS))
        self.log_gain.copy_((keep * scale).log())
        self.readout.initialise(eta, loadings / (scale * self.link.slope(eta))[:, None])
        z = torch.randn(2000, loadings.shape[1], generator=torch.Generator().manual_seed(0)).to(mean)
        self.offset.copy_(keep * mean - self.log_gain.exp() * self.events(z).mean(0))
        self.log_sd.copy_((0.5 * variance.log() + keep.log()))
        self.log_start_sd.copy_(scale.log())
        self.typical.copy_(torch.stack([(2 * self.log_sd).exp().mean(), scale.square().mean()]))
