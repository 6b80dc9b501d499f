"""The objects of one run in the processing module `lowrank_rnn` -> Results."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd

from ..reading import Reading
from ..results import LAYOUT_VERSION, Fit, FixedPoints, Posterior, Results, Score
from ..sources._nwb_file import RESULTS_MODULE, frame, read
from ..sources.nwb import read_nwb
from ._flat import unflatten
from ._nwb_portrait import portrait_of
from ._nwb_sidecar import TRIAL_SERIES, stored_arrays, stored_trials
from ._nwb_tables import SERIES, trial_ids

SAME = 1e-6  # seconds; the clock of no recording is finer


def results_of(nwb, run: str, trusted, source=None) -> Results:
    """Results of one run of an open NWBFile; the trials are those of a sidecar itself, or cut again from the source or this file."""
    found = nwb.processing[RESULTS_MODULE].data_interfaces
    tables = {name.removeprefix(run + "_"): table for name, table in found.items() if name.startswith(run + "_")}
    settings = _settings(tables["settings"])
    windows = tables["windows"]
    table = frame(windows, exclude=(*SERIES, *TRIAL_SERIES, "inputs"))
    bins, inputs = settings["trials"]["bins"], read(windows["inputs"].data) if "inputs" in windows.colnames else None
    stored = stored_arrays(tables, windows, lambda series: _padded(series, table["bins"], bins))
    if stored and source is None:
        trials = stored_trials(settings, frame(tables["readout"]), table, stored, inputs)
    else:
        trials = _trials(nwb if source is None else source, settings, tables["readout"], table)
        trials = trials if inputs is None else replace(trials, inputs=inputs)
    dense = "latents" in windows.colnames
    arrays = {name: read(windows[name].data) if dense else _padded(tables[name], table["bins"], trials.bins) for name in SERIES}
    history = frame(tables["training"]).reset_index(drop=True) if "training" in tables else pd.DataFrame()
    fit = Fit.from_state(settings["fit"], _state(tables["weights"]), history, trusted)
    rates = arrays["rates"]
    posterior = Posterior(
        latents=arrays["latents"],
        latents_sd=arrays["latents_sd"],
        rates=(rates * trials.bin_width).astype(arrays["latents"].dtype) if trials.is_counts else rates,
        log_evidence=table["log_evidence"].to_numpy(),
        ess=arrays["ess"].T,
        settings=settings.get("posterior", {}),
    )
    scores = [] if "metrics" not in tables else [Score(**row) for row in frame(tables["metrics"]).to_dict("records")]
    reading = settings.get("reading")
    reading = None if reading is None else Reading(np.array(reading))
    points, portrait = _fixed_points(tables, settings, fit), _portrait(tables, trials, fit)
    return Results(fit, trials, posterior, table["split"].to_numpy(), points, tuple(scores), reading, portrait)


def _portrait(tables: dict, trials, fit: Fit):
    """The portrait with its own fixed points, which may be those of another input."""
    if "portrait" not in tables:
        return None
    rows = frame(tables["portrait"])
    about = unflatten({key: value for key, value in zip(rows["key"], rows["value"]) if key.startswith("fixed_points.")})
    own = {name.removeprefix("portrait_"): table for name, table in tables.items() if name.startswith("portrait_")}
    return portrait_of(tables, _fixed_points(own, about, fit), trials)


def _settings(table) -> dict:
    rows = frame(table)
    settings = unflatten(dict(zip(rows["key"], rows["value"])))
    if settings.get("layout_version") != LAYOUT_VERSION:
        raise ValueError(
            f"read_results: expected layout version {LAYOUT_VERSION}; got {settings.get('layout_version')}. "
            "Read it with the version of nwb_lowrank that wrote it (settings row 'versions.nwb_lowrank')."
        )
    return settings


def _padded(series, lengths: pd.Series, bins: int) -> np.ndarray:
    """(B, T, …) from a concatenated series; NaN (of whole numbers 0) in the bins after a window's last."""
    values, within = read(series.data), np.arange(bins) < lengths.to_numpy()[:, None]
    array = np.full((*within.shape, *values.shape[1:]), np.nan if values.dtype.kind == "f" else 0, values.dtype)
    array[within] = values
    return array


def _trials(nwb, settings: dict, readout, windows: pd.DataFrame):
    """The same trials, cut again from the recording in the file."""
    stored, units = settings["trials"], frame(readout)
    if stored["origin"].get("format", "nwb") != "nwb" or "cut" not in stored["origin"]:
        raise ValueError("read_results: these trials were not cut from an NWB file, and cannot be cut again from one. Leave source= out.")
    trials = read_nwb(nwb, **stored["origin"]["cut"])
    if trials.origin["identifier"] != stored["origin"]["identifier"]:
        raise ValueError(f"read_results: expected the recording '{stored['origin']['identifier']}' that was fitted; "
                         f"got '{trials.origin['identifier']}'. Pass that file.")  # fmt: skip
    trials = trials.select(_rows(trials, windows))
    if not np.array_equal(trials.unit_ids, units["unit_id"]):
        raise ValueError("read_results: expected the units that were fitted; the units table was changed after the fit. Fit again.")
    if trials.bins != stored["bins"] or not np.array_equal(trials.lengths, windows["bins"]):
        raise ValueError("read_results: expected windows of as many bins as were fitted; the trials or "
                         "observed intervals of this file were changed after the fit. Fit again.")  # fmt: skip
    return replace(trials, held_out=units["held_out"].to_numpy(bool), forecast=stored["forecast"], origin=stored["origin"])


def _rows(trials, windows: pd.DataFrame) -> np.ndarray:
    """(B,) which of the trials each window is: of that row id (two may start together; chunks are all -1), and that start."""
    have = trial_ids(trials) + 1j * trials.starts  # complex numbers sort by real, then by imaginary part
    wanted = windows["trial"].to_numpy() + 1j * windows["start_time"].to_numpy()
    order = np.argsort(have, kind="stable")
    rows = order[np.minimum(np.searchsorted(have[order], wanted - 1j * SAME), len(order) - 1)]
    missing = np.abs(have[rows] - wanted) > SAME
    if missing.any():
        raise ValueError(
            f"read_results: expected the recording that was fitted; no trial starts at {wanted[missing][0].imag:.6f} s any more. "
            "The units, trials or times of this file were changed after the fit: fit again."
        )
    return rows


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
        column["kappa"], column["residual"], column["jacobian"], eigenvalues, column["stable"].astype(bool), complete, certificate,
        column.get("box"),
    )  # fmt: skip
