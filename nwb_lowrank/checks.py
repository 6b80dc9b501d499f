"""What fit and infer check at their door, and how they leave it."""

from __future__ import annotations

import hashlib
import signal
import threading
from contextlib import contextmanager

import torch

from .trials import Trials


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
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else torch.device(device)


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
