"""Results for people who do not read NWB in Python: long tidy tables (CSV), named arrays (NPZ), a labelled data set (xarray, netCDF)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from ..results import Results
from ._flat import flatten
from ._safely import replacing


def tidy_tables(results: Results) -> dict[str, pd.DataFrame]:
    """Long tables, one observation a row; bins after a window's last recorded one are left out.

    Parameters
    ----------
    results : Results

    Returns
    -------
    dict of DataFrame
        windows (one row a window: number, every column of the trial table, split, log_evidence in nats), neurons (unit_id, held_out,
        observation parameters), latents (window, bin, time in s, latent, mean, sd), rates (window, bin, time in s, unit_id, rate in
        Hz or the signal's unit, observed count or value, NaN where nothing was recorded), behavior, fixed_points, metrics, training.
    """
    trials, posterior = results.trials, results.posterior
    inside = np.arange(trials.bins) < trials.lengths[:, None]
    window, step = np.nonzero(inside)
    at = dict(window=window, bin=step, time=trials.times[inside])
    rates = posterior.rates / trials.bin_width if trials.is_counts else posterior.rates
    observed = np.where(trials.mask, trials.counts, np.nan)
    mean, sd = posterior.latents[inside], posterior.latents_sd[inside]
    tables = dict(
        windows=_windows(results),
        neurons=_neurons(results),
        latents=_long(at, "latent", np.arange(mean.shape[-1]), mean=mean, sd=sd),
        rates=_long(at, "unit_id", trials.unit_ids, rate=rates[inside], observed=observed[inside]),
        metrics=results.table(),
        training=results.fit.history if results.fit.history is not None else pd.DataFrame(),
    )
    if trials.behavior is not None:
        known = np.where(trials.behavior_mask[..., None], trials.behavior, np.nan)
        tables["behavior"] = _long(at, "name", np.array(trials.behavior_names or range(known.shape[-1])), value=known[inside])
    if results.fixed_points is not None:
        tables["fixed_points"] = _points(results.fixed_points)
    return tables


def _windows(results: Results) -> pd.DataFrame:
    trials = results.trials
    own = dict(window=np.arange(len(trials)), first_bin=trials.starts, bins=trials.lengths, split=results.split,
               log_evidence=np.asarray(results.posterior.log_evidence))  # fmt: skip
    return pd.DataFrame(own).join(trials.table[[name for name in trials.table if name not in own]].reset_index(drop=True))


def _neurons(results: Results) -> pd.DataFrame:
    trials, columns = results.trials, {}
    for name, value in results.fit.state().items():
        if name.startswith("model.observation.") and value.ndim and len(value) == trials.neurons:
            name = name.removeprefix("model.observation.")
            parts = {name: value} if value.ndim == 1 else {f"{name}_{k}": value.reshape(len(value), -1)[:, k] for k in range(value[0].size)}
            columns |= parts
    return pd.DataFrame(dict(unit_id=trials.unit_ids, held_out=trials.held_out, **columns))


def _long(at: dict, name: str, labels: np.ndarray, **values) -> pd.DataFrame:
    """One row a bin and label; each of `values` is (bins, labels)."""
    columns = {key: np.repeat(column, len(labels)) for key, column in at.items()}
    some = len(at["bin"])
    return pd.DataFrame({**columns, name: np.tile(labels, some), **{key: value.ravel() for key, value in values.items()}})


def _points(found) -> pd.DataFrame:
    coordinates = {f"z_{k}": found.points[:, k] for k in range(found.points.shape[1])}
    values = {f"eigenvalue_{k}": found.eigenvalues[:, k] for k in range(found.points.shape[1])}
    parts = {f"{name}_{part}": getattr(value, part) for name, value in values.items() for part in ("real", "imag")}
    return pd.DataFrame(dict(kind=found.kinds, stable=found.stable, residual=found.residual, **coordinates, **parts))


def export_csv(results: Results, folder) -> Path:
    """Write every table of `tidy_tables` as `<name>.csv` into a folder, and the settings as `settings.csv` (dotted key, JSON value)."""
    folder = Path(folder)
    tables = tidy_tables(results)
    trials = results.trials
    nested = dict(fit=results.fit.recipe(), trials=dict(bin_width=trials.bin_width, forecast=trials.forecast, origin=trials.origin))
    tables["settings"] = pd.DataFrame(list(flatten(nested).items()), columns=["key", "value"])
    for name, table in tables.items():
        with replacing(folder / f"{name}.csv", "export_csv") as beside:
            table.to_csv(beside, index=False)
    return folder


def arrays(results: Results) -> dict[str, np.ndarray]:
    """Everything as arrays (window, bin, …): what `export_npz` writes. Text is unicode, and settings are one JSON text."""
    trials, posterior, found = results.trials, results.posterior, results.fixed_points
    rates = posterior.rates / trials.bin_width if trials.is_counts else posterior.rates
    made = dict(
        latents=posterior.latents, latents_sd=posterior.latents_sd, rates=rates, counts=trials.counts, mask=trials.mask, times=trials.times,
        lengths=trials.lengths, split=results.split, log_evidence=np.asarray(posterior.log_evidence), unit_ids=trials.unit_ids,
        held_out=trials.held_out, bin_width=np.array(trials.bin_width), settings=np.array(json.dumps(results.fit.recipe(), default=str)),
    )  # fmt: skip
    if trials.behavior is not None:
        made["behavior"] = np.where(trials.behavior_mask[..., None], trials.behavior, np.nan)
        made["behavior_names"] = np.array(trials.behavior_names)
    if found is not None:
        made |= dict(fixed_points=found.points, fixed_point_eigenvalues=found.eigenvalues, fixed_point_stable=found.stable)
    return made | {f"state/{name}": value for name, value in results.fit.state().items()}


def export_npz(results: Results, path) -> Path:
    """Write `arrays` into one compressed NPZ file, which needs no pickle to be read."""
    with replacing(Path(path), "export_npz") as beside:
        with open(beside, "wb") as file:
            np.savez_compressed(file, **arrays(results))
    return Path(path)


def to_xarray(results: Results):
    """A labelled data set with dimensions window, bin, latent, unit (and behavior_name, fixed_point): latents, rates, counts, mask, ….

    Parameters
    ----------
    results : Results

    Returns
    -------
    xarray.Dataset
        latents in arbitrary units, rates in Hz (or the signal's unit), times in seconds; the settings of the fit as an attribute.

    Raises
    ------
    ValueError
        xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise ValueError("to_xarray: xarray is not installed. Install it: pip install 'nwb_lowrank[xarray]'.") from None
    trials, made = results.trials, arrays(results)
    dims = dict(latents="window bin latent", latents_sd="window bin latent", rates="window bin unit", counts="window bin unit",
                mask="window bin unit", times="window bin", lengths="window", split="window", log_evidence="window", held_out="unit",
                behavior="window bin behavior_name", fixed_points="fixed_point latent", fixed_point_stable="fixed_point")  # fmt: skip
    data = {name: (names.split(), made[name]) for name, names in dims.items() if name in made}
    if "fixed_point_eigenvalues" in made:
        values = np.stack([made["fixed_point_eigenvalues"].real, made["fixed_point_eigenvalues"].imag], -1)
        data["fixed_point_eigenvalues"] = (["fixed_point", "latent", "part"], values)
    coords = dict(unit=trials.unit_ids, bin=np.arange(trials.bins), window=np.arange(len(trials)))
    coords |= dict(behavior_name=list(trials.behavior_names)) if trials.behavior_names else {}
    coords |= dict(part=["real", "imag"]) if "fixed_point_eigenvalues" in data else {}
    set_ = xarray.Dataset(data, coords, attrs=dict(bin_width=trials.bin_width, bin_width_unit="s", settings=str(made["settings"])))
    for name, unit in dict(times="s", rates="Hz" if trials.is_counts else trials.origin.get("signal_unit", "a.u."), latents="a.u.").items():
        set_[name].attrs["units"] = unit
    return set_


def export_xarray(results: Results, path) -> Path:
    """Write `to_xarray` as netCDF 4, through h5netcdf."""
    made = to_xarray(results)
    with replacing(Path(path), "export_xarray") as beside:
        made.to_netcdf(beside, engine="h5netcdf")
    return Path(path)
