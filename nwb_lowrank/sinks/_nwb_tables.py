"""Results -> the objects of one run in the processing module `lowrank_rnn`, core NWB types only.

Windows that neither overlap nor run backwards in time are concatenated: one TimeSeries for latents, their standard
deviation, rates and effective sample size, with explicit bin centres shared by link, and a `windows` table that refers
to its spans. Other windows (or a few long ones of many neurons) are dense columns of that table: one TimeSeries would
have to run backwards.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
from hdmf.common import DynamicTable, DynamicTableRegion, VectorData, VectorIndex
from pynwb import H5DataIO, NWBFile, TimeSeries
from pynwb.base import TimeSeriesReference, TimeSeriesReferenceVectorData
from pynwb.epoch import TimeIntervals

from ..results import LAYOUT_VERSION, Results
from ._flat import flatten
from ._nwb_portrait import PORTRAIT_TABLES, portrait_objects
from ._nwb_sidecar import TRIAL_SERIES, trial_arrays, trial_settings, trial_units

SERIES = {
    "latents": "Posterior mean of the latents z_t of the low-rank RNN given the shown neurons, one row a bin",
    "latents_sd": "Posterior standard deviation of the latents",
    "rates": "Predicted activity of every neuron (one column a row of the readout table), averaged over smoothed trajectories",
    "ess": "Effective sample size of the particle filter",
}
TABLES = ("windows", "readout", "network", "weights", "fixed_points", "metrics", "training", "settings", *PORTRAIT_TABLES)


def names_of(run: str) -> list[str]:
    """Every name that an object of this run may have."""
    return [f"{run}_{name}" for name in (*SERIES, *TRIAL_SERIES, *TABLES)]


def run_objects(nwb: NWBFile, results: Results, run: str, versions: dict, *, sidecar: bool = False) -> list:
    """Everything that one run adds to the module, in the order in which it must be added; in a sidecar the trials too."""
    makers = (partial(_windows, sidecar), _readout, _network, _weights, _fixed_points, _metrics, _training)
    objects = [made for maker in makers for made in maker(nwb, results, run)]
    objects += portrait_objects(results.portrait, results.trials, run)
    if results.portrait is not None:
        objects += _fixed_points(nwb, replace(results, fixed_points=results.portrait.fixed_points), f"{run}_portrait")
    return objects + [_settings(results, run, versions, sidecar)]


def _arrays(results: Results, sidecar: bool) -> dict[str, tuple[np.ndarray, str, str]]:
    """(B, T, …) arrays with description and unit; rates in Hz as doubles, so that spikes per bin come back exactly."""
    posterior, trials = results.posterior, results.trials
    rates = posterior.rates.astype(float) / trials.bin_width if trials.is_counts else posterior.rates
    unit = "Hz" if trials.is_counts else trials.origin.get("signal_unit", "a.u.")
    series = dict(latents=(posterior.latents, "a.u."), latents_sd=(posterior.latents_sd, "a.u."), rates=(rates, unit),
                  ess=(posterior.ess.T, "particles"))  # fmt: skip
    made = {name: (array, SERIES[name], unit) for name, (array, unit) in series.items()}
    units = trial_units(trials)
    return made | ({name: (array, TRIAL_SERIES[name], units[name]) for name, array in trial_arrays(trials).items()} if sidecar else {})


def concatenable(results: Results) -> bool:
    """True when one TimeSeries can hold all windows: rising times, and more bins than columns (the inspector's rule)."""
    trials = results.trials
    stops = trials.starts + trials.lengths * trials.bin_width
    rising = (trials.starts[1:] > stops[:-1] - 0.5 * trials.bin_width).all()
    return bool(rising and trials.lengths.sum() > max(trials.neurons, results.posterior.latents.shape[-1]))


def _windows(sidecar: bool, nwb, results: Results, run: str) -> list:
    trials, arrays = results.trials, _arrays(results, sidecar)
    lengths = trials.lengths
    columns = [
        _column("start_time", "Left edge of the first bin, seconds", trials.starts),
        _column("stop_time", "Right edge of the last recorded bin, seconds", trials.starts + lengths * trials.bin_width),
        _column("trial", "Row id of the interval table that the window was cut from; -1 for chunks", trial_ids(trials)),
        _column("split", "train or test", [str(name) for name in results.split]),
        _column("log_evidence", "Estimate of log p(shown data), nats", results.posterior.log_evidence),
        _column("bins", "Bins up to the last recorded one", lengths.astype(np.int64)),
    ]
    if trials.inputs.shape[-1]:
        # Also in the padding, where a smoother that starts there feels them.
        columns.append(_column("inputs", "Known inputs u_t of the model (window, bin, input)", trials.inputs))
    series = []
    if concatenable(results):
        series = _concatenated(results, run, arrays)
        stops = np.cumsum(lengths)
        spans = [TimeSeriesReference(int(stop - length), int(length), series[0]) for stop, length in zip(stops, lengths)]
        refers = TimeSeriesReferenceVectorData(name="timeseries", description=f"Samples of the window in {run}_latents", data=spans)
        columns += [refers, VectorIndex(name="timeseries_index", target=refers, data=list(range(1, len(spans) + 1)))]
    else:
        columns += [_column(name, f"{about} (window, bin, …), {unit}", array) for name, (array, about, unit) in arrays.items()]
    names = [column.name for column in columns if not column.name.endswith("_index")]
    table = TimeIntervals(
        name=f"{run}_windows", description="Windows that were fitted (train) or kept out (test)", columns=columns, colnames=names
    )
    return [*series, table]


def _concatenated(results: Results, run: str, arrays: dict) -> list[TimeSeries]:
    trials = results.trials
    within = np.arange(trials.bins) < trials.lengths[:, None]
    times, series = trials.times[within], []
    regular = np.ptp(np.diff(times)) < 1e-6 * trials.bin_width  # such series state their rate (a rule of the inspector)
    for name, (array, about, unit) in arrays.items():
        clock = dict(starting_time=times[0], rate=1 / trials.bin_width) if regular else dict(timestamps=series[0] if series else times)
        series.append(
            TimeSeries(
                name=f"{run}_{name}", description=about, unit=unit, continuity="continuous",
                data=H5DataIO(array[within], compression="gzip", shuffle=True), **clock,
            )
        )  # fmt: skip
    return series


def trial_ids(trials) -> np.ndarray:
    """(B,) row ids in the interval table that the trials were cut from; -1 for chunks."""
    chunks = trials.origin.get("cut", {}).get("table") == "none" or "trial_id" not in trials.table
    return np.full(len(trials), -1) if chunks else trials.table["trial_id"].to_numpy(np.int64)


def _readout(nwb, results: Results, run: str) -> list:
    trials, state = results.trials, results.fit.state()
    columns = []
    if nwb.units is not None and trials.origin.get("kind") == "spikes":
        rows = {int(unit): row for row, unit in enumerate(nwb.units.id[:])}
        columns.append(
            DynamicTableRegion(name="unit", description="The unit", data=[rows[int(u)] for u in trials.unit_ids], table=nwb.units)
        )
    columns.append(_column("unit_id", "Row id in the table of units (or ROIs)", trials.unit_ids.astype(np.int64)))
    columns.append(_column("held_out", "Learned in training, never shown at inference", trials.held_out))
    for name, value in _per_row(state, "model.observation.", trials.neurons).items():
        columns.append(_column(name, f"Observation parameter '{name}' of the neuron", value))
    return [_table(run, "readout", "Readout C z + d of every neuron", columns)]


def _network(nwb, results: Results, run: str) -> list:
    state = results.fit.state()
    values = dict(m=state["model.m"], n=state["model.n"].T, h=state["model.nonlinearity.h"])
    about = dict(m="Input weights from the latents", n="Output weights to the latents (n transposed)", h="Bias")
    if state["model.w"].shape[1]:
        values["w"], about["w"] = state["model.w"], "Input weights from the known inputs"
    columns = [_column(name, about[name], value) for name, value in values.items()]
    return [_table(run, "network", "z_t = a z_{t-1} + n phi(m z_{t-1} + w u_t, h) + noise: one row a hidden unit", columns)]


def _per_row(state: dict, prefix: str, rows: int) -> dict[str, np.ndarray]:
    """Parameters below a prefix with one entry for every row."""
    return {name[len(prefix) :].removeprefix("readout.").replace(".", "_"): value for name, value in state.items()
            if name.startswith(prefix) and value.ndim and len(value) == rows}  # fmt: skip


def _weights(nwb, results: Results, run: str) -> list:
    """Every tensor of model and proposal, exactly: the file alone rebuilds the posterior."""
    state = results.fit.state()
    flat = np.concatenate([value.astype(np.result_type(*state.values())).ravel() for value in state.values()])
    values = VectorData(name="values", description="All entries in C order", data=H5DataIO(flat, compression="gzip", shuffle=True))
    ends = np.cumsum([value.size for value in state.values()])
    columns = [
        _column("tensor", "Name in the state of model and proposal", list(state)),
        _column("shape", "Shape, JSON", [json.dumps(value.shape) for value in state.values()]),
        _column("dtype", "Type of the entries", [str(value.dtype) for value in state.values()]),
        values,
        VectorIndex(name="values_index", target=values, data=ends.astype(np.uint64)),
    ]
    names = ["tensor", "shape", "dtype", "values"]
    return [
        DynamicTable(name=f"{run}_weights", description="Every tensor of the model and of its proposal", columns=columns, colnames=names)
    ]


def _fixed_points(nwb, results: Results, run: str) -> list:
    found = results.fixed_points
    if found is None or not len(found.points):
        return []
    columns = [
        _column("kappa", "Fixed point in latent space", found.points),
        _column("residual", "max |F(z) - z|", found.residual),
        _column("jacobian", "dF/dz at the point", found.jacobian),
        _column("eigenvalues_real", "Real part of the Jacobian's eigenvalues, by falling modulus", found.eigenvalues.real),
        _column("eigenvalues_imag", "Imaginary part of the Jacobian's eigenvalues", found.eigenvalues.imag),
        _column("stable", "Every eigenvalue inside the unit circle", found.stable),
        _column("kind", "Kind of the fixed point", found.kinds),
    ]
    if found.boxes is not None:
        columns.append(_column("box", "Low and high corner of a box that holds no other fixed point; NaN: not proved", found.boxes))
    return [_table(run, "fixed_points", "Fixed points of the noise-free latent dynamics", columns)]


def _metrics(nwb, results: Results, run: str) -> list:
    table = results.table()
    about = dict(metric="Name of the score", value="Value", split="Trials scored", bin_width="Seconds", note="What exactly was scored")
    columns = [_column(name, about[name], table[name].to_numpy() if table[name].dtype.kind == "f" else list(table[name])) for name in table]
    return [_table(run, "metrics", "Scores of the fit", columns)] if len(table) else []


def _training(nwb, results: Results, run: str) -> list:
    history = results.fit.history
    about = dict(stage="Stage of the fit", step="Rounds (warm start) or gradient steps", bound="Training, nats per bin and trial",
                 validation="Validation, nats per bin and trial", ess="Effective sample size as a share of the particles",
                 learning_rate="Learning rate")  # fmt: skip
    columns = [_column(name, about.get(name, name), list(v) if v.dtype.kind not in "fi" else v.to_numpy()) for name, v in history.items()]
    return [_table(run, "training", "Looks at the validation trials during the fit", columns)] if len(history) else []


def _settings(results: Results, run: str, versions: dict, sidecar: bool) -> DynamicTable:
    """What cannot stand in the other tables, one row a dotted key."""
    fit, trials, found = results.fit, results.trials, results.fixed_points
    state = fit.state()
    covariances = {name: getattr(fit.model, name).chol().detach().cpu().numpy() for name in ("noise", "initial_noise")}
    nested = dict(
        layout_version=LAYOUT_VERSION, versions=versions, fit=fit.recipe(), posterior=results.posterior.settings,
        trials=dict(bin_width=trials.bin_width, bins=trials.bins, forecast=trials.forecast, origin=trials.origin,
                    **(trial_settings(trials) if sidecar else {})),
        fixed_points=None if found is None else dict(count=len(found.points), complete=bool(found.complete), certificate=found.certificate),
        reading=None if results.reading is None else results.reading.matrix,
        fitted=dict(decay=float(fit.model.decay), initial_mean=state["model.initial_mean"],
                    noise_covariance=covariances["noise"] @ covariances["noise"].T,
                    initial_covariance=covariances["initial_noise"] @ covariances["initial_noise"].T),
    )  # fmt: skip
    rows = flatten(nested)
    columns = [_column("key", "Dotted name", list(rows)), _column("value", "JSON number, text, list or null", list(rows.values()))]
    return _table(run, "settings", "Everything needed to run this fit again, and where its data came from", columns)


def _table(run: str, name: str, description: str, columns: list) -> DynamicTable:
    names = [column.name for column in columns]
    return DynamicTable(name=f"{run}_{name}", description=description, columns=columns, colnames=names)


def _column(name: str, description: str, data) -> VectorData:
    return VectorData(name=name, description=description, data=np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data)
