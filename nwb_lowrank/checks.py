"""What fit and infer check at their door, and how they leave it."""

from __future__ import annotations

import hashlib
import signal
import threading
import warnings
from contextlib import contextmanager

import numpy as np
import torch

from .trials import Trials

COLLAPSED, MANY = 2.0, 0.1  # effective particles below which a bin has collapsed; share of such bins that is worth a warning


class ParticleCollapse(UserWarning):
    """Hardly any particle carries weight in many bins: what the filter says there is that particle's story."""


def warn_of_collapse(who: str, ess, recorded, *, particles: int, proposal) -> None:
    """Warn, once a call, when the effective sample size is below 2 in a tenth of the bins with data.

    ess : (T, B);  recorded : bool (B, T)
    """
    share = float(((ess < COLLAPSED) & recorded.T).sum() / recorded.sum().clamp_min(1))
    if particles < 2 * COLLAPSED or share < MANY:
        return
    blind = type(proposal).__name__ == "Bootstrap"
    mend = ("Use a proposal that looks at the data (Laplace(), Encoder(); --proposal laplace), or many more particles." if blind else
            "Use more particles, or Laplace(steps=3), or train longer: the proposal and the data disagree.")  # fmt: skip
    warnings.warn(
        f"{who}: the particles of a bin should share its weight; in {share:.0%} of bins fewer than 2 of {particles} do (ESS < 2), so that "
        f"latents and evidence are unreliable there. {mend}",
        ParticleCollapse,
        stacklevel=3,
    )


def check_trials(model, trials: Trials) -> None:
    """Refuse trials that the model cannot explain, naming the mend."""
    if model.neurons != trials.neurons:
        raise ValueError(
            f"fit: the model expects {model.neurons} neurons; the trials have {trials.neurons}. Build it with neurons=trials.neurons."
        )
    if model.inputs != trials.inputs.shape[-1]:
        raise ValueError(
            f"fit: the model expects {model.inputs} inputs; the trials have {trials.inputs.shape[-1]}. "
            "Build it with inputs=trials.inputs.shape[-1]."
        )
    if not model.observation.allows(trials.counts):
        raise ValueError(
            f"fit: {type(model.observation).__name__} expects {model.observation.expects}; the trials hold "
            f"other values. Use {'Poisson()' if trials.is_counts else 'GaussianSignal()'}."
        )
    secret = np.isin(trials.unit_ids, trials.origin.get("held_out", ()))
    if (secret & ~trials.held_out).any():
        raise ValueError(
            f"fit: the benchmark holds {secret.sum()} of these neurons out; got {(secret & ~trials.held_out).sum()} of them shown. "
            "Leave held_out as read_nlb marked it."
        )
    if not trials.mask.any():
        raise ValueError("fit: no entry of the trials is recorded (mask is False everywhere). Check obs_intervals and the window.")


def fingerprint(trials: Trials) -> str:
    """sha256 of everything in the trials that a fit depends on."""
    digest = hashlib.sha256()
    for array in (trials.counts, trials.mask, trials.held_out, trials.inputs):
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(array.tobytes())
    digest.update(str(trials.forecast).encode())
    return digest.hexdigest()


def choose_device(device: str) -> torch.device:
    """'auto' is CUDA when there is one, else the CPU."""
    there = torch.cuda.is_available()
    if device == "auto":
        return torch.device("cuda" if there else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"fit: device must be auto, cpu or cuda; got {device!r}. Leave it out for auto.") from None
    if chosen.type == "cuda" and not there:
        raise ValueError(f"fit: no CUDA device is here; got device {device!r}. Leave it out for the CPU.")
    return chosen


@contextmanager
def deferred_interrupt():
    """Ctrl-C sets a flag, so that a step is never cut in half. Only the main thread can be asked."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(signum, frame):
        if flag.is_set():
            raise KeyboardInterrupt  # pressed again: the user will not wait
        flag.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before)
