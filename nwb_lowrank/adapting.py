"""adapt: a fitted network for another session or other neurons, its dynamics left as they are."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from .alignment import towards_dynamics
from .fit import fit
from .initialise import Summary, initialise, summarise
from .recipe import build, recipe
from .results import Fit, FitSettings
from .trials import Trials


def adapt(
    fitted: Fit,
    trials: Trials,
    settings: FitSettings | None = None,
    *,
    seed: int = 0,
    device: str = "auto",
    on_step: Callable | None = None,
    checkpoint=None,
    resume: bool = False,
) -> Fit:
    """Fit only the readout and the proposal to a new session or to new neurons.

    Dynamics, input weights, noise and initial state of `fitted` are frozen: to the last bit they are the same in the result.
    The new neurons' factors are turned into the latent space by the dynamics themselves (`alignment.towards_dynamics`).

    Parameters
    ----------
    fitted : Fit
    trials : Trials
        The new training trials, of the bin width of the old ones and with as many inputs.
    settings : FitSettings or None
        None: those of `fitted`.
    seed, device, on_step, checkpoint, resume
        As in `fit`.

    Returns
    -------
    Fit
        A new model and proposal; `fitted` stays as it is.

    Raises
    ------
    ValueError
        Another number of inputs, or a readout made of the network's own units.
    """
    settings = settings or fitted.settings
    if trials.inputs.shape[-1] != fitted.model.inputs:
        raise ValueError(
            f"adapt: the network has {fitted.model.inputs} inputs; the trials have {trials.inputs.shape[-1]}. "
            "Cut them with the same inputs=."
        )
    if not hasattr(fitted.model.observation.readout, "loadings"):
        raise ValueError("adapt: a readout of the network's own units cannot be another session's. Fit with Affine() or MLP().")
    model = resized(fitted.model, trials.neurons)
    proposal = build(recipe(fitted.proposal), trusted=("",)).attach(model)
    extent = model.extent.clone()
    if settings.initialise:
        start(model, proposal, trials, seed)
    with frozen(model):
        options = dict(seed=seed, device=device, on_step=on_step, checkpoint=checkpoint, resume=resume)
        new = fit(model, proposal, trials, replace(settings, initialise=False), **options)
    new.model.extent.copy_(torch.maximum(new.model.extent, extent))
    return replace(new, settings=settings)


def resized(model, neurons: int):
    """The same network with a new observation model of `neurons`."""
    description = recipe(model)
    description["arguments"]["neurons"] = neurons
    new = build(description, trusted=("",)).to(model.m)
    shared = {name: value for name, value in model.state_dict().items() if not name.startswith("observation.")}
    new.load_state_dict(dict(new.state_dict(), **shared))
    return new


class frozen:
    """Only the observation model learns while this lasts."""

    def __init__(self, model):
        self.parts = [p for name, p in model.named_parameters() if not name.startswith("observation.") and p.requires_grad]

    def __enter__(self):
        for part in self.parts:
            part.requires_grad_(False)

    def __exit__(self, *error):
        for part in self.parts:
            part.requires_grad_(True)


def start(model, proposal, trials: Trials, seed: int) -> None:
    """Observation and proposal from the data, in the latent space of the dynamics, which stay as they are."""
    kept = copy.deepcopy(model.state_dict())
    found: list[Summary] = []

    def summarised(trials, rank):
        found.append(summarise(trials, rank))
        return found[0]

    initialise(model, proposal, trials, summarised)
    model.load_state_dict({name: value if name.startswith("observation.") else kept[name] for name, value in model.state_dict().items()})
    A, b = towards_dynamics(model, found[0].factors, found[0].recorded, np.asarray(trials.inputs), seed=seed)
    A, b = (torch.as_tensor(x).to(model.m) for x in (A, b))
    readout = model.observation.readout
    with torch.no_grad():  # η = C f + d, and f = (z − b) A⁻¹
        readout.loadings.copy_(readout.loadings @ torch.linalg.inv(A).mT)
        readout.shift(-readout.loadings @ b)
        proposal.turn(A, b)
