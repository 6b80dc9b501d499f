"""A network's opinion about z_t: the paper's encoder proposal."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn.functional import gelu, pad

from ..gaussian import Message
from ..recipe import build, recipe
from .base import Proposal

RAREST = 0.3  # no neuron's activity is magnified as if its standard deviation were below this share of the typical one


class Encoder(Proposal):
    """q ∝ p(z_t | z_{t−1}) · exp(−½ (z_t − μ_t)ᵀ J_t (z_t − μ_t)), with μ_t and diagonal J_t from a CNN over bins.

    The mean has a linear path (a projection of the neurons, smoothed over bins)
    that starts as the factor estimate of the data, plus a network that starts at 0.

    Parameters
    ----------
    channels : int
        Width of the network.
    kernel : int
        Bins that each of its two convolutions looks at, odd.
    causal : bool
        True: only past and present bins are looked at, as online use needs.
    precision : float
        J at the start, in units of the factors' precision (near zero: the prior proposes).
    """

    def __init__(self, *, channels: int = 64, kernel: int = 11, causal: bool = False, precision: float = 0.1):
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"Encoder: kernel must be odd; got {kernel}. Use {kernel + 1}.")
        self.channels, self.kernel, self.causal, self.precision = channels, kernel, causal, precision

    def attach(self, model) -> Encoder:
        R, N, C = model.rank, model.neurons, self.channels
        self.register_buffer("centre", torch.zeros(N))
        self.register_buffer("scale", torch.ones(N))
        self.register_buffer("shown", torch.tensor(float(N)))  # neurons that are shown when all is recorded
        with torch.random.fork_rng(devices=[]):  # the layers' own initial values come from the global generator
            self.project = nn.Linear(N, R)
            self.smooth = nn.Conv1d(R, R, 2 * self.kernel - 1, groups=R, bias=False)
            self.read = nn.Linear(N, C)
            self.convolve = nn.ModuleList(nn.Conv1d(C, C, self.kernel) for _ in range(2))
            self.head = nn.Linear(C, 2 * R)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan_in**0.5 if parameter.dim() > 1 else 0)
            self.head.weight.zero_()
            self.head.bias[R:] = math.log(self.precision)
        return self

    @torch.no_grad()
    def initialise(self, summary, trials) -> None:
        recorded = np.maximum(trials.mask.sum((0, 1)), 1)
        centre = trials.counts.sum((0, 1)) / recorded
        sd = np.sqrt((np.where(trials.mask, trials.counts - centre, 0) ** 2).sum((0, 1)) / recorded)
        self.centre.copy_(torch.as_tensor(centre))
        # One spike of a neuron that was all but silent in training must not look like the event of a lifetime.
        self.scale.copy_(torch.as_tensor(np.maximum(sd, RAREST * np.sqrt((sd**2).mean()) + 1e-6)))
        self.shown.fill_(int((~trials.held_out).sum()))
        self.project.weight.copy_(torch.as_tensor(summary.projection.T))
        self.project.bias.zero_()
        lags = torch.arange(self.smooth.kernel_size[0]) - self._past(self.smooth)
        weight = torch.exp(-0.5 * (lags / summary.width).square())
        self.smooth.weight.copy_((weight / weight.sum()).expand_as(self.smooth.weight))

    @torch.no_grad()
    def turn(self, A, b):
        self.project.weight.copy_(A.mT @ self.project.weight)
        self.project.bias.copy_(self.project.bias @ A + b)

    @torch.no_grad()
    def restricted(self, model, neurons, shown):
        """Its own input layer, the rest shared. Where others are never seen, each speaks for more: exactly the same messages."""
        part, more = build(recipe(self)).attach(model).to(self.centre), float(self.shown) / max(shown, 1)
        state = self.state_dict()
        for name in ("centre", "scale"):
            state[name] = state[name][neurons]
        for name in ("project.weight", "read.weight"):
            state[name] = more * state[name][:, neurons]
        part.load_state_dict(dict(state, shown=state["shown"].new_tensor(float(shown))))
        return part

    def look(self, model, y, u, seen):
        y, seen = model.observation.activity(y, seen)
        share = seen.sum(-1, keepdim=True).clamp_min(1) / self.shown  # where few are seen, each speaks for more
        standard = (y - self.centre) / self.scale * seen / share
        known = seen.any(-1, keepdim=True)  # bins of which nothing is seen must look like the padding beyond the trial's ends
        linear = self._along_bins(self.smooth, self.project(standard) * known)
        hidden = gelu(self.read(standard)) * known
        for layer in self.convolve:
            hidden = (hidden + gelu(self._along_bins(layer, hidden))) * known
        mean, log_precision = self.head(hidden).chunk(2, -1)
        precision = log_precision.clamp(-12, 12).exp() * known
        return Message(torch.diag_embed(precision).transpose(0, 1), (precision * (linear + mean)).transpose(0, 1))

    def _past(self, layer: nn.Conv1d) -> int:
        """Bins before the present one that a layer looks at."""
        width = layer.kernel_size[0]
        return width - 1 if self.causal else width // 2

    def _along_bins(self, layer: nn.Conv1d, x: torch.Tensor) -> torch.Tensor:
        """Convolve (B, T, C) along T, zero-padded so that T stays."""
        past = self._past(layer)
        return layer(pad(x.transpose(1, 2), (past, layer.kernel_size[0] - 1 - past))).transpose(1, 2)
