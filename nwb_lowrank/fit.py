"""fit: maximise the sequential Monte Carlo bound on log p(y)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .checkpoint import Checkpoint
from .checks import check_trials, choose_device, deferred_interrupt
from .initialise import initialise
from .results import Fit, FitSettings
from .training import FitDiverged, Progress, Training
from .trials import Trials

__all__ = ["FitDiverged", "FitInterrupted", "Progress", "fit"]


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C, after the checkpoint was written."""


def fit(
    model,
    proposal,
    trials: Trials,
    settings: FitSettings = FitSettings(),
    *,
    seed: int = 0,
    device: str = "auto",
    on_step: Callable[[Progress], None] | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> Fit:
    """Fit a low-rank RNN by variational sequential Monte Carlo (Pals et al. 2024).

    Every recorded entry is scored; the proposal sees it unless its neuron is held
    out or its bin is a forecast bin, so that held-out readouts are learned and
    never leak into the encoder.

    Parameters
    ----------
    model : LowRankRNN
    proposal : Proposal
    trials : Trials
        The training trials; `settings.validation` of them choose the best state.
    settings : FitSettings
    seed : int
        With the device, determines every number: randomness is a function of (seed, step).
    device : str
        "auto" takes CUDA when there is one.
    on_step : function of Progress, or None
    checkpoint : path or None
        Written at every look at the validation trials and on Ctrl-C.
    resume : bool
        Go on from `checkpoint`; ends in the same bytes as an uninterrupted run on the same machine.

    Returns
    -------
    Fit
        `model` and `proposal` are fitted in place and returned in it, on the CPU.

    Raises
    ------
    ValueError
        Trials that do not fit the model, or a checkpoint of another fit.
    FitDiverged
        The bound stayed non-finite after several returns to the last good state.
    FitInterrupted
        Ctrl-C; the checkpoint (if any) was written first.
    """
    check_trials(model, trials)
    proposal = proposal.attach(model) if not list(proposal.buffers()) + list(proposal.parameters()) else proposal
    if settings.initialise:
        initialise(model, proposal, trials)
    run = Training(model, proposal, trials, settings, seed, choose_device(device))
    if resume:
        if checkpoint is None or not Path(checkpoint).exists():
            raise FileNotFoundError(f"fit: expected a checkpoint to resume from; got {checkpoint}. Run once without resume.")
        run.restore(Checkpoint.load(checkpoint))
    save = (lambda: run.good.save(checkpoint)) if checkpoint else (lambda: None)
    with deferred_interrupt() as interrupted:
        while not run.finished:
            progress = run.advance()
            if on_step:
                on_step(progress)
            if run.looked:
                save()
            if interrupted.is_set():
                save()
                raise FitInterrupted(
                    f"fit: stopped at {progress.stage} {progress.step} of {progress.steps}; checkpoint: {checkpoint} (of the latest look)."
                )
    return run.result()
