"""Behaviour series of an NWB file, in the units that it states."""

from __future__ import annotations

import numpy as np

from . import _nwb_file as file
from ._behavior import Series, behavior_fields
from ._names import find
from ._windows import Windows


def read_behavior(nwb, names, windows: Windows, mask_nan: bool, average: bool) -> tuple[dict, list[str]]:
    """The behaviour fields of Trials, and the paths of the series, by bare names or paths."""
    available = file.behavior_series(nwb)
    found = [find(available, name, "read_nwb", "behavior series") for name in ([names] if isinstance(names, str) else names)]
    return behavior_fields([_series(*one) for one in found], windows, mask_nan=mask_nan, average=average)


def _series(path: str, series) -> Series:
    times, values = file.series_times(series), file.series_values(series)
    if len(times) != len(values):
        raise ValueError(f"read_nwb: behavior '{path}' has {len(values)} samples but {len(times)} timestamps. Correct the file.")
    return Series(path, series.name, times, np.where(np.isinf(values), np.nan, values), str(series.unit))
