"""The objects of one run in the processing module `lowrank_rnn` -> Results."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from ..results import LAYOUT_VERSION, Fit, FixedPoints, Posterior, Results, Score
from ..sources._nwb_file import RESULTS_MODULE, frame, read
from ..sources.nwb import read_nwb
from ._flat import unflatten
from ._nwb_tables import SERIES

SAME = 1e-6  # seconds; the clock of no recording is finer


def results_of(source, nwb, run: str, trusted) -> Results:
    """Results of one run of an open NWBFile; `source` is what the trials are cut from again."""
    found = nwb.processing[RESULTS_MODULE].data_interfaces
    tables = {name.removeprefix(run + "_"): table for name, table in found.items() if name.startswith(run + "_")}
    settings = _settings(tables["settings"])
    windows = tables["windows"]
    arrays = _series(tables, windows) if f"{run}_latents" in found else {n: read(windows[n].data) for n in SERIES if n in windows.colnames}
    table = frame(windows, exclude=SERIES)
    trials = _trials(source, settings, tables["readout"], table, arrays.get("inputs"))
    history = frame(tables["training"]).reset_index(drop=True) if "training" in tables else pd.DataFrame()
    fit = Fit.from_state(settings["fit"], _state(tables["weights"]), history, trusted)
    rates = arrays["rates"]
    posterior = Posterior(
        latents=arrays["latents"],
        latents_sd=arrays["latents_sd"],
        rates=(rates * trials.bin_width).astype(np.float32) if trials.is_counts else rates,
        log_evidence=table["log_evidence"].to_numpy(),
        ess=arrays["ess"].T,
        settings=settings.get("posterior", {}),
    )
    scores = [] if "metrics" not in tables else [Score(**row) for row in frame(tables["metrics"]).to_dict("records")]
    return Results(fit, trials, posterior, table["split"].to_numpy(), _fixed_points(tables, settings, fit), tuple(scores))


def _settings(table) -> dict:
    rows = frame(table)
    settings = unflatten(dict(zip(rows["key"], rows["value"])))
    if settings.get("layout_version") != LAYOUT_VERSION:
        raise ValueError(
            f"read_results: expected layout version {LAYOUT_VERSION}; got {settings.get('layout_version')}. "
            "Read it with the version of nwb_lowrank that wrote it (settings row 'versions.nwb_lowrank')."
        )
    _complete(settings["fit"])
    return settings


def _complete(recipe) -> None:
    """A class without constructor arguments left no row for them."""
    if isinstance(recipe, dict):
        if "class" in recipe:
            recipe.setdefault("arguments", {})
        for value in recipe.values():
            _complete(value)


def _series(tables: dict, windows) -> dict[str, np.ndarray]:
    """(B, T, …) arrays from the concatenated series; NaN in the bins after a window's last."""
    bins = read(windows["bins"].data).astype(int)
    within = np.arange(bins.max()) < bins[:, None]
    arrays = {}
    for name in SERIES:
        if name in tables:
            values = read(tables[name].data)
            arrays[name] = np.full((*within.shape, *values.shape[1:]), np.nan, values.dtype)
            arrays[name][within] = values
    return arrays


def _trials(source, settings: dict, readout, windows: pd.DataFrame, inputs):
    """The same trials, cut again from the recording in the file."""
    stored = settings["trials"]
    cut = dict(stored["origin"]["cut"])
    trials = read_nwb(source, **cut)
    order = np.argsort(trials.starts, kind="stable")
    starts, wanted = trials.starts[order], windows["start_time"].to_numpy()
    at = np.minimum(np.searchsorted(starts, wanted - SAME), len(starts) - 1)
    missing = np.abs(starts[at] - wanted) > SAME
    if missing.any():
        raise ValueError(
            f"read_results: expected the recording that was fitted; no trial starts at {wanted[missing][0]:.6f} s any more. "
            "The units, trials or times of this file were changed after the fit: fit again."
        )
    trials = trials.select(order[at])
    units = frame(readout)
    if not np.array_equal(trials.unit_ids, units["unit_id"]):
        raise ValueError("read_results: expected the units that were fitted; the units table was changed after the fit. Fit again.")
    bins = int(windows["bins"].max())
    trials = replace(
        _padded_to(trials, bins), held_out=units["held_out"].to_numpy(bool), forecast=stored["forecast"], origin=stored["origin"]
    )
    return trials if inputs is None else replace(trials, inputs=np.nan_to_num(inputs))


def _padded_to(trials, bins: int):
    """Fewer trials than were cut may be shorter together than all of them were."""
    if trials.bins <= bins:
        return trials
    behavior = {} if trials.behavior is None else dict(behavior=trials.behavior[:, :bins], behavior_mask=trials.behavior_mask[:, :bins])
    return replace(trials, counts=trials.counts[:, :bins], mask=trials.mask[:, :bins], inputs=trials.inputs[:, :bins], **behavior)


def _state(table) -> dict[str, np.ndarray]:
    values, ends = read(table["values"].target.data), read(table["values"].data).astype(np.int64)
    names, shapes, dtypes = (list(frame(table, exclude=("values",))[name]) for name in ("tensor", "shape", "dtype"))
    pieces = np.split(values, ends[:-1])
    return {name: piece.astype(dtype).reshape(json.loads(shape)) for name, piece, shape, dtype in zip(names, pieces, shapes, dtypes)}


def _fixed_points(tables: dict, settings: dict, fit: Fit) -> FixedPoints | None:
    about, R = settings.get("fixed_points"), fit.model.rank
    if about is None:
        return None
    certificate, complete = about.get("certificate", {}), about["complete"]
    if "fixed_points" not in tables:
        empty = np.zeros((0, R))
        return FixedPoints(empty, empty[:, 0], np.zeros((0, R, R)), empty.astype(complex), np.zeros(0, bool), complete, certificate)
    column = {name: read(tables["fixed_points"][name].data) for name in tables["fixed_points"].colnames}
    eigenvalues = column["eigenvalues_real"] + 1j * column["eigenvalues_imag"]
    return FixedPoints(
        column["kappa"], column["residual"], column["jacobian"], eigenvalues, column["stable"].astype(bool), complete, certificate
    )
