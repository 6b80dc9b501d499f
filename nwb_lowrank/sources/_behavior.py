"""Behaviour at the bins of trials: interpolated to their centres, or averaged over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._signal import bin_means
from ._windows import Windows

FAR = 1.5  # bins further than this many sample intervals from any sample have no behaviour


@dataclass(frozen=True)
class Series:
    """Samples (S, C) at times (S,), seconds, of one behaviour."""

    path: str
    name: str
    times: np.ndarray
    values: np.ndarray
    unit: str


def behavior_fields(series: list[Series], windows: Windows, *, mask_nan: bool, average: bool) -> tuple[dict, list[str]]:
    """The behaviour fields of Trials, and the paths of the series.

    Parameters
    ----------
    mask_nan : bool
        Mask bins whose samples are NaN, instead of refusing them.
    average : bool
        Means over the samples of each bin instead of values at its centre.
    """
    values, known, labels, units = [], windows.inside.copy(), [], []
    for one in series:
        columns, near = _averaged(one, windows) if average else interpolate(one.times, one.values, windows.centers)
        near &= windows.inside
        missing = near & np.isnan(columns).any(-1)
        if missing.any() and not mask_nan:
            raise ValueError(
                f"read_nwb: behavior '{one.path}' is NaN in {missing.sum()} bins of the trials chosen. "
                "Pass mask_nan_behavior=True to leave those bins out, or another behavior=."
            )
        if not (near & ~missing).any():
            raise ValueError(f"read_nwb: behavior '{one.path}' has no samples in the trials chosen. Pass another behavior=.")
        known &= near & ~missing
        values.append(columns)
        labels += [one.name] if columns.shape[-1] == 1 else [f"{one.name}_{c}" for c in range(columns.shape[-1])]
        units += [one.unit] * columns.shape[-1]
    behavior = np.where(known[..., None], np.concatenate(values, axis=-1), 0.0)
    fields = dict(behavior=behavior, behavior_mask=known, behavior_names=tuple(labels), behavior_units=tuple(units))
    return fields, [one.path for one in series]


def _averaged(series: Series, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    times, values = ordered(series.times, series.values)
    step = np.median(np.diff(times)) if len(times) > 1 else np.inf
    if step > windows.width * (1 + 1e-6):
        raise ValueError(
            f"read_nwb: averages need a sample in every bin; '{series.path}' is sampled every {step:.3g} s, and bins last "
            f"{windows.width:g} s. Leave average_behavior out, which interpolates."
        )
    return bin_means(times, values, windows)


def ordered(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples by rising, finite time; of equal timestamps the first counts."""
    times, first = np.unique(times[: len(values)], return_index=True)
    return times[np.isfinite(times)], values[first[np.isfinite(times)]]


def interpolate(times: np.ndarray, values: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation of (F, C) samples to times of any shape S.

    Returns
    -------
    values : array (*S, C)
        NaN where a sample that counts is NaN; the first or last sample outside all samples.
    near : bool array S
        True within 1.5 median sample intervals of a sample.
    """
    times, values = ordered(times, values)
    if len(times) < 2:
        return np.zeros((*at.shape, values.shape[1])), np.zeros(at.shape, bool)
    after = np.searchsorted(times, at).clip(1, len(times) - 1)
    left, right = times[after - 1], times[after]
    share = ((at - left) / (right - left)).clip(0, 1)[..., None]
    inside = values[after - 1] * (1 - share) + values[after] * share
    inside = np.where(share == 0, values[after - 1], np.where(share == 1, values[after], inside))  # NaN * 0 is NaN
    near = np.minimum(np.abs(at - left), np.abs(right - at)) <= FAR * np.median(np.diff(times)) * (1 + 1e-9)
    return inside, near
