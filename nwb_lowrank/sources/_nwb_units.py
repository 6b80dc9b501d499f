"""The units table of an NWB file -> Spikes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import _nwb_file as file
from ._spikes import Spikes, extent_of, parts, split_times
from ._windows import merge

NOT_QUERIED = ("spike_times", "obs_intervals", "waveform_mean", "waveform_sd", "waveforms", "spike_amplitudes")


def read_spikes(nwb) -> Spikes | None:
    """The units table, read once; None when the file has no unit with spike times."""
    units = nwb.units
    if units is None or "spike_times" not in units.colnames or len(units) == 0:
        return None
    flat, ends = _ragged(units, "spike_times")
    times = split_times(flat, ends)
    observed = _observed(units)
    extent = extent_of(times, file.interval_edges(nwb)) if observed is None else _union(observed)
    return Spikes(units_frame(nwb), times, observed, extent, int(len(flat) - sum(map(len, times))))


def _ragged(units, name: str) -> tuple[np.ndarray, np.ndarray]:
    """All values of a ragged column, and where each unit's end; a broken index is refused, for it would count wrong."""
    column = units[name]
    if not hasattr(column, "target"):
        raise ValueError(f"read_nwb: column '{name}' of the units has no index that says which values are whose. Correct the file.")
    flat, ends = file.read(column.target.data).astype(float, copy=False), file.read(column.data).astype(np.int64)
    steps = np.diff(ends, prepend=0)
    if len(ends) != len(units) or (steps < 0).any() or (len(ends) and ends[-1] != len(flat)):
        raise ValueError(
            f"read_nwb: '{name}_index' of the units must rise to the number of values, {len(flat)}, in {len(units)} steps; "
            f"got {len(ends)} entries up to {ends.max(initial=0)}. Correct the file."
        )
    return flat, ends


def units_frame(nwb) -> pd.DataFrame:
    """Columns of the units table with the electrodes' `location`, indexed by unit id."""
    frame = file.frame(nwb.units, NOT_QUERIED)
    if "electrodes" in frame and "location" not in frame:
        column = nwb.units["electrodes"]
        electrodes = getattr(column, "target", column).table
        if "location" in electrodes.colnames:
            names = file.frame(electrodes)["location"].to_numpy()
            frame["location"] = [_areas(names, cell) for cell in frame["electrodes"]]
    return frame


def _areas(names: np.ndarray, rows) -> str:
    """Areas of a unit's electrodes, each once; empty for a unit without electrodes, or whose electrodes are not in the table."""
    rows = np.atleast_1d(np.asarray(rows, float)).astype(int)
    return ", ".join(dict.fromkeys(str(names[row]) for row in rows if 0 <= row < len(names)))


def _observed(units) -> tuple[np.ndarray, ...] | None:
    """Observation intervals a unit; None when the column is absent or empty, which says nothing."""
    if "obs_intervals" not in units.colnames:
        return None
    flat, ends = _ragged(units, "obs_intervals")
    flat = flat.reshape(-1, 2)
    return tuple(parts(flat, ends)) if (flat[:, 1] > flat[:, 0]).any() else None


def _union(observed: tuple[np.ndarray, ...]) -> tuple[float, float]:
    union = merge(np.concatenate(observed), 0.0)
    return (float(union[0, 0]), float(union[-1, 1])) if len(union) else (0.0, 0.0)
