"""Training: one fit under way, a step at a time. Deterministic, resumable, never silently broken."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import pandas as pd
import torch
from torch import Tensor

from .batches import generator_of, minibatch, segments, tensors
from .checkpoint import Checkpoint, blend, state_of
from .checks import fingerprint, warn_of_collapse
from .filter import smc_filter
from .recipe import recipe
from .resampling import adaptive, multinomial, systematic, with_gradient
from .results import Fit, FitSettings
from .smoother import backward_sample
from .trials import Trials, split_indices
from .warm_start import complete_data_objective, frozen, smoothed, wake_objective

WARM_LOOKS = 12  # at the validation trials during the warm start
VALIDATION = 4  # times the training particles: the choice of the best state must not hang on the noise of the bound
RETRIES = 5  # returns to the last good state before a fit gives up


class FitDiverged(RuntimeError):
    """The bound or its gradient stayed non-finite after every recovery."""


@dataclass(frozen=True)
class Progress:
    """What `on_step` is told after every warm-start round and every step.

    stage : "warm start" (step counts rounds) or "fit"
    bound : of this step's minibatch, nats per bin and trial;  validation : of the latest look
    ess : mean effective sample size as a share of K
    """

    stage: str
    step: int
    steps: int
    bound: float
    ess: float
    validation: float


class Training:
    """One fit under way: everything that a checkpoint must hold, and nothing else, changes."""

    def __init__(self, model, proposal, trials: Trials, settings: FitSettings, seed: int, device: torch.device):
        self.model, self.proposal = model.to(device), proposal.to(device)
        self.settings, self.seed, self.device = settings, seed, device
        self.identity = dict(
            model=recipe(model), proposal=recipe(proposal), settings=asdict(settings), seed=seed, trials=fingerprint(trials)
        )
        self.resampler = multinomial if settings.multinomial else systematic
        self.scheme = with_gradient(self.resampler) if settings.resampling_gradient else self.resampler
        self.data = tensors(trials, self.model.m)
        self.recorded = int(trials.mask.any(-1).sum())  # bins, all trials together: what one prior stands against
        keep = settings.validation if len(trials) > 1 else 0.0
        parts = split_indices(len(trials), (1 - keep, keep), seed) if keep > 0 else [range(len(trials))]
        self.training = torch.as_tensor(parts[0])
        self.validation = torch.as_tensor(parts[1]) if keep > 0 else None
        self.optimizer = self._new_optimizer()
        self.round, self.step, self.rate_scale, self.retries, self.stale = 0, 0, 1.0, 0, 0
        self.best, self.best_state, self.history = -math.inf, None, []
        self.average = state_of(model, proposal)
        self.recent: list[tuple[float, float]] = []
        self.looked, self.good = False, self.snapshot()

    @property
    def finished(self) -> bool:
        warm = self.round >= self.settings.warm_rounds
        return warm and (self.step >= self.settings.steps or self.stale >= self.settings.patience)

    def advance(self) -> Progress:
        """One warm-start round, or one gradient step with a look at the validation trials every `validate_every` steps."""
        warm = self.round < self.settings.warm_rounds
        bound, ess = self._warm_round() if warm else self._gradient_step()
        self.looked = False
        if bound is None:
            self._recover()
        elif warm:
            self.round += 1
            self._average(self.round)
            self.recent.append((bound, ess))
            if self.round == self.settings.warm_rounds or self.round % -(-self.settings.warm_rounds // WARM_LOOKS) == 0:
                self._look("warm start", self.round, self._warm_rate(self.round - 1))
            if self.round == self.settings.warm_rounds:
                self._begin_gradient_steps()
        else:
            self.step += 1
            self._average(self.step)
            self.recent.append((bound, ess))
            if self.step == self.settings.steps or self.step % self.settings.validate_every == 0:
                self._look("fit", self.step, learning_rate(self.settings, self.step - 1))
        stage = ("warm start", self.round, self.settings.warm_rounds) if warm else ("fit", self.step, self.settings.steps)
        validation = self.history[-1]["validation"] if self.history else math.nan
        return Progress(*stage, math.nan if bound is None else bound, math.nan if bound is None else ess, validation)

    def _average(self, count: int) -> None:
        """Move the running average of the parameters, which forgets all but about the latest `averaging` share of `count`."""
        blend(self.average, state_of(self.model, self.proposal), 1 / max(1.0, self.settings.averaging * count))

    def _begin_gradient_steps(self) -> None:
        """From the averaged state, with an optimiser of its own: moments of another objective would mislead its first steps."""
        Checkpoint.put_state(self.average, self.model, self.proposal)
        self.optimizer, self.stale = self._new_optimizer(), 0
        self.good = self.snapshot()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        kind = torch.optim.RAdam if self.settings.rectified else torch.optim.Adam
        return kind([*self.model.parameters(), *self.proposal.parameters()], lr=self.settings.learning_rate)

    def _warm_round(self) -> tuple[float | None, float | None]:
        """One round of `warm_start`: smooth some trials, then gradient steps on the smoothed trajectories."""
        s = self.settings
        generator = generator_of(self.seed, 2**42 + self.round, self.device)
        size = min(s.warm_trials, len(self.training))
        rows = self.training.to(self.device)[torch.randperm(len(self.training), generator=generator, device=self.device)[:size]]
        batch = segments([x[rows] for x in self.data], s.segment, generator)
        try:
            path, evidence, ess = smoothed(
                self.model, self.proposal, batch, particles=2 * s.particles, draws=4, generator=generator,
                resample=adaptive(s.resample_threshold, self.resampler),
            )  # fmt: skip
        except torch.linalg.LinAlgError:
            return None, None
        for inner in range(s.warm_steps):
            rate = self._warm_rate(self.round + inner / s.warm_steps)
            part = torch.randperm(size, generator=generator, device=self.device)[: s.batch_size]
            piece = [x[part] for x in batch]
            hide = self._hidden(piece[2], generator)
            if self._ascend(lambda: complete_data_objective(self.model, self.proposal, piece, path[:, part], hide), rate) is None:
                return None, None
        recorded = batch[3].any(-1)
        share = (ess * recorded.T).sum() / recorded.sum() / (2 * s.particles)
        return float(evidence.sum() / recorded.sum()), float(share)

    def _warm_rate(self, rounds: float) -> float:
        """Tenfold exponential decay over the warm start."""
        return self.settings.warm_rate * 0.1 ** (rounds / self.settings.warm_rounds)

    def _ascend(self, objective: Callable[[], Tensor], rate: float) -> float | None:
        """One optimiser step up `objective`; None (and no step) when it or its gradient is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate_scale * rate
        self.optimizer.zero_grad(set_to_none=True)
        try:
            value = objective()
            (-value - self._log_prior()).backward()
        except torch.linalg.LinAlgError:  # a covariance that is none any more
            return None
        norm = torch.nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], self.settings.clip)
        if not (torch.isfinite(value) and torch.isfinite(norm)):
            return None
        self.optimizer.step()
        return float(value.detach())

    def _log_prior(self) -> Tensor:
        """The prior's share of an objective in nats per bin and trial."""
        return self.settings.prior / self.recorded * self.model.observation.log_prior()

    def _gradient_step(self) -> tuple[float | None, float | None]:
        """Bound (nats per bin and trial) and ESS share of one minibatch; None when not finite."""
        generator = generator_of(self.seed, self.step, self.device)
        rows = minibatch(self.training, self.settings.batch_size, self.step, self.seed).to(self.device)
        batch = segments([x[rows] for x in self.data], self.settings.segment, generator)
        seen, learns = [], any(parameter.requires_grad for parameter in self.proposal.parameters())

        def objective() -> Tensor:
            with frozen(self.proposal if self.settings.wake else None):
                bound, ess, out = self._bound(batch, generator, hide=None if self.settings.wake else self._hidden(batch[2], generator))
            seen.extend((float(bound.detach()), float(ess)))
            return bound + self._wake(batch, out, generator) if self.settings.wake and learns else bound

        return (None, None) if self._ascend(objective, learning_rate(self.settings, self.step)) is None else tuple(seen)

    def _hidden(self, seen: Tensor, generator) -> Tensor | None:
        """Entries to hide from the proposal at this step."""
        share = self.settings.dropout
        return torch.rand(seen.shape, generator=generator, device=self.device) < share if share else None

    def _wake(self, batch, out, generator) -> Tensor:
        """The proposal's own objective, on trajectories smoothed from the filter that has just run."""
        with torch.no_grad():
            path = backward_sample(self.model, out.detach(), batch[1], draws=2, generator=generator)
        return wake_objective(self.model, self.proposal, batch, path, self._hidden(batch[2], generator))

    def _bound(self, batch, generator, hide: Tensor | None = None, particles: int | None = None):
        """Bound (nats per bin and trial), ESS share and the filter's output."""
        y, u, seen, scored = batch
        seen = seen if hide is None else seen & ~hide
        out = smc_filter(
            self.model,
            self.proposal,
            y,
            u,
            seen=seen,
            scored=scored,
            particles=particles or self.settings.particles,
            generator=generator,
            resample=adaptive(self.settings.resample_threshold, self.scheme),
        )
        recorded = scored.any(-1)
        ess = (out.ess * recorded.T).sum() / recorded.sum() / (particles or self.settings.particles)
        return out.log_evidence.sum() / recorded.sum(), ess, out

    @torch.no_grad()
    def _look(self, stage: str, step: int, rate: float) -> None:
        """Score the averaged parameters on the validation trials, keep the best state, record history."""
        bound, ess = (sum(values) / len(values) for values in zip(*self.recent))
        current = state_of(self.model, self.proposal)
        Checkpoint.put_state(self.average, self.model, self.proposal)
        value = self._validation_bound(bound)
        Checkpoint.put_state(current, self.model, self.proposal)
        self.recent = []
        self.history.append(dict(stage=stage, step=step, bound=bound, validation=value, ess=ess, learning_rate=self.rate_scale * rate))
        if not math.isfinite(value):
            self._recover()
            return
        self.looked = True
        if value > self.best or self.validation is None:
            self.best, self.stale = value, 0
            self.best_state = {name: tensor.clone() for name, tensor in self.average.items()}
        else:
            self.stale += 1
        self.good = self.snapshot()

    def _validation_bound(self, bound: float) -> float:
        """Nats per bin and trial of all validation trials, always with the same noise; NaN when the model is broken.

        Without validation trials `bound`, if the model still gives a finite one on some training trials.
        """
        parts = self.training[: self.settings.batch_size].split(256) if self.validation is None else self.validation.split(256)
        total, bins = 0.0, 0
        for part in parts:
            batch = [x[part.to(self.device)] for x in self.data]
            generator = generator_of(self.seed, 2**40, self.device)
            weight = int(batch[3].any(-1).sum())
            try:
                total += weight * float(self._bound(batch, generator, particles=VALIDATION * self.settings.particles)[0])
            except torch.linalg.LinAlgError:
                return math.nan
            bins += weight
        return bound if self.validation is None and math.isfinite(total) else total / bins

    def _recover(self) -> None:
        """Back to the last good state, with half the learning rate."""
        retries, scale = self.retries + 1, self.rate_scale / 2
        if retries > RETRIES:
            raise FitDiverged(
                f"fit: the bound or its gradient was not finite near step {self.step}, even after {RETRIES} returns to the last "
                f"good state with ever smaller steps. Lower learning_rate (now {self.settings.learning_rate:g}) or look for "
                "extreme values in the data."
            )
        self.restore(self.good)
        self.retries, self.rate_scale = retries, scale
        self.good = self.snapshot()

    def snapshot(self) -> Checkpoint:
        """Everything that changes during a fit."""
        counters = dict(
            round=self.round,
            step=self.step,
            rate_scale=self.rate_scale,
            retries=self.retries,
            stale=self.stale,
            best=self.best,
        )
        return Checkpoint.take(
            self.model,
            self.proposal,
            self.optimizer,
            self.average,
            self.best_state,
            counters,
            self.history,
            self.recent,
            self.identity,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        for part, value in self.identity.items():
            if checkpoint.identity.get(part) != value:
                raise ValueError(
                    f"fit: the checkpoint is of another fit (its {part} differs). Resume with the same data, model, "
                    "proposal, settings and seed, or fit without resume."
                )
        checkpoint.put(self.model, self.proposal, self.optimizer)
        for name, value in checkpoint.counters.items():
            setattr(self, name, value)
        self.history, self.recent = list(checkpoint.history), [tuple(pair) for pair in checkpoint.recent]
        self.best_state = checkpoint.best_state
        self.average = {name: value.to(self.device, copy=True) for name, value in checkpoint.average.items()}
        self.good = checkpoint

    def result(self) -> Fit:
        if self.best_state is not None:
            Checkpoint.put_state(self.best_state, self.model, self.proposal)
        self._measure_extent()
        model, proposal = self.model.cpu().eval(), self.proposal.cpu().eval()
        return Fit(model, proposal, self.settings, self.seed, pd.DataFrame(self.history))

    @torch.no_grad()
    def _measure_extent(self) -> None:
        """Where the latents of (up to 256) training trials go: the fixed-point search's first look at unbounded dynamics."""
        y, u, seen, scored = (x[self.training[:256].to(self.device)] for x in self.data)
        out = smc_filter(
            self.model,
            self.proposal,
            y,
            u,
            seen=seen,
            scored=scored,
            particles=self.settings.particles,
            generator=generator_of(self.seed, 2**41, self.device),
        )
        mean = (out.log_weights.softmax(1)[..., None] * out.particles).sum(1)
        recorded = scored.any(-1)
        warn_of_collapse("fit", out.ess, recorded, particles=self.settings.particles, proposal=self.proposal)
        self.model.extent.copy_((mean.abs() * recorded.T[..., None]).amax((0, 1)))


def learning_rate(settings: FitSettings, step: int) -> float:
    """Linear warm-up, then exponential decay to the final rate."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * (settings.final_learning_rate / settings.learning_rate) ** progress
