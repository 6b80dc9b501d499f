"""warm_start: Monte Carlo EM whose gradient needs no time loop. Brings a fit near its optimum in a minute.

A round filters and smooths some trials without gradients (E-step), then takes
gradient steps on the complete-data log-likelihood of the smoothed trajectories,
log p(z_1) + Σ log p(z_t | z_{t−1}) + Σ log p(y_t | z_t), whose expected gradient
is that of log p(y) (Fisher's identity), and fits the proposal to the same
trajectories, Σ log q(z_t | z_{t−1}, y) (the wake-phase of Bornschein & Bengio
2015). Every bin is known, so all of them are computed at once.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch import Tensor

from .filter import smc_filter
from .gaussian import Gaussian, Message, Scale
from .proposals.base import About
from .resampling import Resampler, systematic
from .smoother import backward_sample


@torch.no_grad()
def smoothed(
    model, proposal, batch, *, particles: int, draws: int, generator, resample: Resampler = systematic
) -> tuple[Tensor, Tensor, Tensor]:
    """E-step: trajectories (S, B, T, R) given everything recorded, log-evidence (B,) and ESS (T, B).

    batch : (y, u, seen, scored) as in `smc_filter`
    """
    y, u, seen, scored = batch
    filtered = smc_filter(model, proposal, y, u, seen=seen, scored=scored, particles=particles, generator=generator, resample=resample)
    path = backward_sample(model, filtered, u, draws=draws, generator=generator)
    return path, filtered.log_evidence, filtered.ess


def complete_data_objective(model, proposal, batch, path: Tensor, hide: Tensor | None = None) -> Tensor:
    """M-step objective: log p(z, y) + log q(z), nats per recorded bin, trial and draw.

    path : (S, B, T, R);  hide : as in `wake_objective`
    """
    y, u, seen, scored = batch
    S, B, T, R = path.shape
    recorded = scored.any(-1).to(y)
    initial, prior = _priors(model, u, path)
    total = (initial.log_prob(path[:, :, 0]) * recorded[:, 0]).sum() + (prior.log_prob(path[:, :, 1:]) * recorded[:, 1:]).sum()
    flat, past = path.reshape(S, B * T, R), model.observation.remember(y, scored)
    past = None if past is None else past.flatten(0, 1)
    total = total + model.observation.log_prob(y.flatten(0, 1), flat, scored.flatten(0, 1), past).sum()
    return total / (S * recorded.sum()) + wake_objective(model, proposal, batch, path, hide)


def wake_objective(model, proposal, batch, path: Tensor, hide: Tensor | None = None) -> Tensor:
    """log q(z_t | z_{t−1}, y) of smoothed trajectories, nats per recorded bin, trial and draw; 0 for a proposal that cannot learn.

    Its gradient changes the proposal alone: the prior that the proposal multiplies is held fixed.

    path : (S, B, T, R)
    hide : bool (B, T, N) or None
        Shown entries to hide from the proposal all the same, against overfitting.
    """
    if not any(parameter.requires_grad for parameter in proposal.parameters()):
        return path.new_zeros(())
    y, u, seen, scored = batch
    S, B, T, R = path.shape
    recorded = scored.any(-1).to(y)
    seen = seen if hide is None else seen & ~hide
    with torch.no_grad():
        initial, prior = _priors(model, u, path)
        means = torch.cat([initial.mean.expand(S, B, R)[:, :, None], prior.mean], 2)
    with frozen(model):
        messages = proposal.look(model, y * seen, u, seen)
        parts = [_log_proposal(model, proposal, scale, messages, means, path, (y, u, seen, recorded), span)
                 for scale, span in ((initial.scale, slice(0, 1)), (prior.scale, slice(1, T)))]  # fmt: skip
    return sum(parts) / (S * recorded.sum())


@contextmanager
def frozen(module):
    """Gradients pass through the module's output, but none is collected for its parameters (None: nothing is frozen)."""
    parameters = [] if module is None else [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _priors(model, u: Tensor, path: Tensor) -> tuple[Gaussian, Gaussian]:
    """p(z_1) and p(z_t | z_{t−1}) of all later bins at once."""
    S, B, T, _ = path.shape
    u = model.drive(u)
    return model.initial(u[:, 0]), model.transition(path[:, :, :-1], u[:, 1:].expand(S, B, T - 1, u.shape[-1]))


def _log_proposal(model, proposal, scale: Scale, messages: Message | None, means: Tensor, path: Tensor, batch, span: slice) -> Tensor:
    """Σ log q over the bins of `span`, whose priors share one scale: bins and trials become the trials of one propose."""

    def rows(x: Tensor) -> Tensor:
        """(..., B, T, X) -> (..., t·B, X), bin by bin as the messages are."""
        return x[..., span, :].transpose(-3, -2).flatten(-3, -2)

    y, u, seen, recorded = batch
    update = None if messages is None else scale.times(Message(*(part[span].flatten(0, 1) for part in messages)))
    past = model.observation.remember(y * seen, seen)
    past = None if past is None else past[:, span].transpose(0, 1).flatten(0, 1)
    about = About(rows(y * seen), rows(u), rows(seen), update, past)
    q = proposal.propose(model, Gaussian(rows(means), scale), about)
    return (q.log_prob(rows(path)) * rows(recorded[..., None])[:, 0]).sum()
