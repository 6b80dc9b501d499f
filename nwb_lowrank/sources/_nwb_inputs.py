"""Known inputs of a model: cue steps and pulses, one-hot conditions, behaviour series."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import _nwb_file as file
from ._behavior import interpolate
from ._names import find
from ._windows import Windows, bin_of

KINDS = ("step", "pulse", "onehot", "value")
MOST_LABELS = 32
CLOSE = 10.0  # seconds that an event may lie outside its trial and still be one


def read_inputs(nwb, names, windows: Windows) -> tuple[dict, list[str]]:
    """The input fields of Trials, and names that give the same again.

    Parameters
    ----------
    names : str or sequence of str
        Columns of the windows' table, with or without ":step", ":pulse", ":onehot" or ":value", or behaviour series.
        Without, a column of times inside the trials is a step, and another column one-hot.

    Raises
    ------
    KeyError, ValueError
        One sentence that names what to change.
    """
    arrays, labels, resolved = [], [], []
    for name in [names] if isinstance(names, str) else names:
        column, _, kind = name.rpartition(":") if name.rpartition(":")[2] in KINDS else (name, "", "")
        if column in windows.table:
            kind = kind or ("step" if _is_event(windows.table, column) else "onehot")
            values, names_of = _MAKERS[kind](windows, column)
            resolved.append(f"{column}:{kind}")
        else:
            path, values, names_of = _series(nwb, column, windows)
            resolved.append(path)
        arrays.append(values)
        labels += names_of
    return dict(inputs=np.concatenate(arrays, -1).astype(np.float32), input_names=tuple(labels)), resolved


def _is_event(table: pd.DataFrame, column: str) -> bool:
    """Times, known and inside (or near) their trial."""
    values = table[column]
    if values.dtype.kind != "f" or not values.notna().any():
        return False
    near = _near(table, values)
    return bool(near > 0.9 and (column.endswith("_time") or values.nunique() > len(values) // 2))


def _near(table: pd.DataFrame, values: pd.Series) -> float:
    """Share of the known times that lie inside or near their trial."""
    return values.between(table["start_time"] - CLOSE, table["stop_time"] + CLOSE)[values.notna()].mean()


def _bins(windows: Windows, column: str) -> np.ndarray:
    """(B, 1) the bin of each event, far beyond the last where it is unknown."""
    times = windows.table[column]
    if times.dtype.kind not in "fiu":
        raise ValueError(f"read_nwb: inputs: column '{column}' holds no times. Pass '{column}:onehot'.")
    if times.notna().any() and _near(windows.table, times) < 0.5:
        raise ValueError(f"read_nwb: inputs: the times of column '{column}' lie far from their trials. Pass '{column}:onehot' if it holds "
                         f"labels, '{column}:value' if numbers.")  # fmt: skip
    times = times.to_numpy(float)
    bins = bin_of(np.where(np.isfinite(times), times, windows.starts), windows.starts, windows.width)
    return np.where(np.isfinite(times), bins, np.iinfo(np.int64).max)[:, None]


def _step(windows, column):
    return (np.arange(windows.bins) >= _bins(windows, column))[..., None], [column]


def _pulse(windows, column):
    return (np.arange(windows.bins) == _bins(windows, column))[..., None], [f"{column}:pulse"]


def _onehot(windows, column):
    values = windows.table[column]
    levels = sorted(values.dropna().unique())
    if len(levels) > MOST_LABELS or not len(levels):
        raise ValueError(
            f"read_nwb: inputs: column '{column}' has {len(levels)} different values; one-hot takes 1 to {MOST_LABELS}. "
            f"Pass '{column}:value' for its numbers."
        )
    hot = values.to_numpy()[:, None] == np.array(levels, dtype=object)
    return np.repeat(hot[:, None], windows.bins, 1), [f"{column}={level}" for level in levels]


def _value(windows, column):
    values = windows.table[column]
    if values.dtype.kind not in "fiub" or not np.isfinite(values.to_numpy(float)).all():
        raise ValueError(
            f"read_nwb: inputs: column '{column}' must hold a number in every trial. Pass '{column}:onehot', or fewer trials=."
        )
    return np.repeat(values.to_numpy(float)[:, None, None], windows.bins, 1), [column]


_MAKERS = dict(step=_step, pulse=_pulse, onehot=_onehot, value=_value)


def _series(nwb, name: str, windows: Windows) -> tuple[str, np.ndarray, list[str]]:
    """A behaviour series at the bin centres, of mean 0 and standard deviation 1 over the bins; the mean where it is unknown."""
    available = file.behavior_series(nwb)
    if not any(f"/{path}".endswith(f"/{name}") for path in available):
        raise KeyError(
            f"read_nwb: inputs: no column and no behaviour series '{name}'; there are {', '.join([*windows.table, *available])}. "
            "Pass one of these."
        )
    path, series = find(available, name, "read_nwb", "behavior series")
    values, near = interpolate(file.series_times(series), file.series_values(series), windows.centers)
    known = near & windows.inside & np.isfinite(values).all(-1)
    if not known.any():
        raise ValueError(f"read_nwb: inputs: '{path}' has no samples in the trials chosen. Pass another one.")
    mean, sd = values[known].mean(0), values[known].std(0)
    standard = np.where(known[..., None], (np.where(known[..., None], values, 0) - mean) / np.where(sd > 0, sd, 1), 0)
    columns = values.shape[-1]
    return path, standard, [series.name] if columns == 1 else [f"{series.name}_{c}" for c in range(columns)]
