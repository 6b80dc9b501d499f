"""Behaviour series interpolated to bin centres."""

from __future__ import annotations

import numpy as np

from . import _nwb_file as file
from ._windows import Windows

FAR = 1.5  # bins further than this many sample intervals from any sample have no behaviour


def read_behavior(nwb, names, windows: Windows, mask_nan: bool) -> tuple[dict, list[str]]:
    """The behaviour fields of Trials, and the paths of the series.

    Parameters
    ----------
    names : str or sequence of str
        Bare names or paths of series.
    mask_nan : bool
        Mask bins whose neighbouring samples are NaN, instead of refusing them.
    """
    available = file.behavior_series(nwb)
    values, known, labels, units, paths = [], windows.inside.copy(), [], [], []
    for name in [names] if isinstance(names, str) else names:
        path, series = file.find(available, name, "read_nwb", "behavior series")
        columns, near = interpolate(file.series_times(series), file.series_values(series), windows.centers)
        near &= windows.inside
        missing = near & np.isnan(columns).any(-1)
        if missing.any() and not mask_nan:
            raise ValueError(
                f"read_nwb: behavior '{path}' is NaN in {missing.sum()} bins of the trials chosen. "
                "Pass mask_nan_behavior=True to leave those bins out, or another behavior=."
            )
        if not (near & ~missing).any():
            raise ValueError(f"read_nwb: behavior '{path}' has no samples in the trials chosen. Pass another behavior=.")
        known &= near & ~missing
        values.append(columns)
        labels += [series.name] if columns.shape[-1] == 1 else [f"{series.name}_{c}" for c in range(columns.shape[-1])]
        units += [str(series.unit)] * columns.shape[-1]
        paths.append(path)
    behavior = np.where(known[..., None], np.concatenate(values, axis=-1), 0.0)
    fields = dict(behavior=behavior, behavior_mask=known, behavior_names=tuple(labels), behavior_units=tuple(units))
    return fields, paths


def interpolate(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation of (F, C) samples to times of any shape S.

    Returns
    -------
    values : array (*S, C)
        NaN where a sample that counts is NaN; the first or last sample outside all samples.
    near : bool array S
        True within 1.5 median sample intervals of a sample.
    """
    times, first = np.unique(times[: len(values)], return_index=True)  # sorted; of equal timestamps the first counts
    times, values = times[np.isfinite(times)], values[first[np.isfinite(times)]]
    if len(times) < 2:
        return np.zeros((*at.shape, values.shape[1])), np.zeros(at.shape, bool)
    after = np.searchsorted(times, at).clip(1, len(times) - 1)
    left, right = times[after - 1], times[after]
    share = ((at - left) / (right - left)).clip(0, 1)[..., None]
    inside = values[after - 1] * (1 - share) + values[after] * share
    inside = np.where(share == 0, values[after - 1], np.where(share == 1, values[after], inside))  # NaN * 0 is NaN
    near = np.minimum(np.abs(at - left), np.abs(right - at)) <= FAR * np.median(np.diff(times)) * (1 + 1e-9)
    return inside, near
