"""fit_sessions: several recordings, one dynamics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from .alignment import condition_means, rotation
from .fit import fit
from .initialise import Summary, initialise, summarise
from .recipe import build, recipe
from .results import Fit, FitSettings
from .trials import Trials


def fit_sessions(
    model,
    proposal,
    sessions: Sequence[Trials],
    settings: FitSettings = FitSettings(),
    *,
    seed: int = 0,
    condition: str | None = None,
    device: str = "auto",
    on_step: Callable | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
) -> list[Fit]:
    """Fit sessions with neurons and trials of their own by a single network.

    Dynamics, noise and initial state are shared, and the encoder but for its input layer; readouts, biases and the input
    layer belong to a session's neurons. To the fit it is one recording of all neurons of which every trial
    recorded one session's: the two masks do the rest.

    Parameters
    ----------
    model : LowRankRNN
        Of all sessions' neurons together: neurons = the sum over sessions.
    proposal : Proposal
    sessions : sequence of Trials
        The training trials of each, of one bin width, the same inputs and the same forecast bins; the neurons held out may differ.
    settings, seed, device, on_step, checkpoint, resume
        As in `fit`; the trials of a step (`batch_size`, `warm_trials`) are counted per session.
    condition : str or None
        Column of the trial tables that labels comparable trials; None: the one that `Trials.conditions` finds, if the sessions
        share its labels, else all trials are comparable. The fit starts where the sessions' mean courses agree.

    Returns
    -------
    list of Fit
        One a session, each of its own neurons alone, ready for `infer` and `write_nwb`; the shared parameters are equal in all.

    Raises
    ------
    ValueError
        Sessions that do not fit together, or not the model.
    """
    joined, parts = join(model, sessions)
    proposal = proposal.attach(model) if not list(proposal.buffers()) + list(proposal.parameters()) else proposal
    if settings.initialise:
        labels = shared_labels(sessions, condition)
        initialise(model, proposal, joined, partial(_summarise, parts=parts, labels=labels))
    options = dict(seed=seed, device=device, on_step=on_step, checkpoint=checkpoint, resume=resume)
    size = len(sessions)
    scaled = replace(settings, initialise=False, batch_size=size * settings.batch_size, warm_trials=size * settings.warm_trials)
    together = fit(model, proposal, joined, scaled, **options)
    together = replace(together, settings=settings)
    return [restrict(together, np.arange(joined.neurons)[columns], joined.held_out) for _, columns in parts]


def join(model, sessions: Sequence[Trials]) -> tuple[Trials, list[tuple[slice, slice]]]:
    """All trials with all neurons, recorded where they were, and each session's (trials, neurons) in it."""
    sessions = list(sessions)
    first, neurons = sessions[0], sum(s.neurons for s in sessions)
    for s in sessions[1:]:
        for name, of in (("bin width", lambda t: t.bin_width), ("number of inputs", lambda t: t.inputs.shape[-1]),
                         ("forecast", lambda t: t.forecast), ("kind of signal", lambda t: t.is_counts)):  # fmt: skip
            if of(s) != of(first):
                raise ValueError(f"fit_sessions: sessions must share the {name}; got {of(first)} and {of(s)}. Cut them alike.")
    if len({s.bins for s in sessions}) > 1 and first.forecast:
        raise ValueError("fit_sessions: forecast bins need trials of one length in all sessions; got several. Pass one window=.")
    if model.neurons != neurons:
        raise ValueError(
            f"fit_sessions: the model must have the {neurons} neurons of all sessions; it has {model.neurons}. Pass neurons={neurons}."
        )
    B, T = sum(map(len, sessions)), max(s.bins for s in sessions)
    counts, mask = np.zeros((B, T, neurons), np.float32), np.zeros((B, T, neurons), bool)
    inputs, held_out, parts = np.zeros((B, T, first.inputs.shape[-1]), np.float32), np.zeros(neurons, bool), []
    row = column = 0
    for s in sessions:
        parts.append((slice(row, row + len(s)), slice(column, column + s.neurons)))
        counts[parts[-1][0], : s.bins, parts[-1][1]], mask[parts[-1][0], : s.bins, parts[-1][1]] = s.counts, s.mask
        inputs[parts[-1][0], : s.bins], held_out[parts[-1][1]] = s.inputs, s.held_out
        row, column = row + len(s), column + s.neurons
    return Trials.from_arrays(
        counts, bin_width=first.bin_width, mask=mask, inputs=inputs, held_out=held_out, forecast=first.forecast
    ), parts


def shared_labels(sessions: Sequence[Trials], column: str | None) -> list[np.ndarray]:
    """(B,) condition of every trial of each session; one condition where the sessions share no column of labels."""
    found = [s.conditions(column if column is None or column in s.table else None)[:] for s in sessions]
    names = {name for _, name in found}
    same = len(names) == 1 and None not in names and len({frozenset(labels) for labels, _ in found}) == 1
    if column is not None and names != {column}:
        raise KeyError(f"fit_sessions: every session needs a column {column!r} in its trial table. Pass another condition=.")
    return [np.asarray(labels) if same else np.zeros(len(s), int) for s, (labels, _) in zip(sessions, found)]


def _summarise(joined: Trials, rank: int, parts, labels) -> Summary:
    """Each session's own factors, turned so that the courses of comparable trials agree."""
    found = [summarise(part_of(joined, *part), rank) for part in parts]
    means = [condition_means(summary.factors, summary.recorded, label) for summary, label in zip(found, labels)]
    turns = [np.eye(rank), *(rotation(mean, means[0]) for mean in means[1:])]
    factors = np.concatenate([summary.factors @ turn for summary, turn in zip(found, turns)])
    stacked = {
        name: np.concatenate([getattr(summary, name) @ turn for summary, turn in zip(found, turns)]) for name in ("loadings", "projection")
    }
    whole = {name: np.concatenate([getattr(summary, name) for summary in found]) for name in ("mean", "variance", "recorded")}
    return Summary(factors=factors, width=float(np.mean([summary.width for summary in found])), **stacked, **whole)


def part_of(joined: Trials, rows: slice, columns: slice) -> Trials:
    """One session's trials and neurons."""
    return Trials.from_arrays(joined.counts[rows, :, columns], bin_width=joined.bin_width, mask=joined.mask[rows, :, columns],
                              inputs=joined.inputs[rows], held_out=joined.held_out[columns], forecast=joined.forecast)  # fmt: skip


def restrict(together: Fit, neurons: np.ndarray, held_out: np.ndarray) -> Fit:
    """The fit of some of its neurons, as if the others had never been recorded: the same filter, number for number."""
    index = torch.as_tensor(neurons)
    description = recipe(together.model)
    description["arguments"]["neurons"] = len(neurons)
    model = build(description, trusted=("",)).to(together.model.m)
    state = {name: _rows(value, model.state_dict()[name], index) for name, value in together.model.state_dict().items()}
    model.load_state_dict(state)
    proposal = together.proposal.restricted(model, index, int((~held_out[neurons]).sum()))
    return replace(together, model=model.eval(), proposal=proposal.eval())


def _rows(value, new, index):
    """A tensor with the rows of `index` where the smaller model has fewer; other tensors are shared."""
    return value.clone() if value.shape == new.shape else value[index]
