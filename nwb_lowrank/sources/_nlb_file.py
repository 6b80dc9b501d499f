"""One file of the benchmark, read once: trial table, units, spikes, observed stretches and behaviour, all on a 1 ms grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from . import _nwb_file as file

MILLISECOND = 1_000_000  # ns
PER_SECOND = 1000  # samples of the grid
ROUND = 6  # decimals that survive the conversion of seconds to grid samples
ABSENT = np.iinfo(np.int64).min  # an event that did not happen, in ns


@dataclass(frozen=True, eq=False)
class File:
    """What a file says.

    table : trials, times in seconds;  events : nanoseconds of every column of times, ABSENT where it is NaN
    ids, held_out : (N,) units;  spikes, ends : times of all units one after the other (s), and where each unit's end
    observed : held out? -> (K, 2) seconds in which such units were observed (the benchmark asks the first of them)
    duration : ms, the grid's length
    behavior : (frames, C) and the grid samples of its frames, or None
    """

    table: pd.DataFrame
    events: dict[str, np.ndarray]
    ids: np.ndarray
    held_out: np.ndarray
    spikes: np.ndarray
    ends: np.ndarray
    observed: dict[bool, np.ndarray]
    duration: int
    behavior: tuple[np.ndarray, np.ndarray] | None
    origin: dict

    def milliseconds(self, unit_id: int) -> np.ndarray:
        """Grid samples of a unit's spikes inside the recording; none when the file does not have the unit."""
        row = np.flatnonzero(self.ids == unit_id)
        if not len(row):
            return np.zeros(0, np.int64)
        first, last = (self.ends[row[0] - 1] if row[0] else 0), self.ends[row[0]]
        at = (self.spikes[first:last] * float(PER_SECOND)).round(ROUND)
        return at[(at >= 0) & (at < self.duration)].astype(np.int64)

    def observed_samples(self, held_out: bool) -> np.ndarray:
        """(duration,) True where units of this kind were observed; nowhere when the file has none of them."""
        seen = np.zeros(self.duration, bool)
        for start, stop in self.observed.get(held_out, ()):
            seen[int(np.ceil(round(start * PER_SECOND, ROUND))) : int(np.floor(round(stop * PER_SECOND, ROUND)))] = True
        return seen


def read_file(path, behavior: str | None) -> File:
    """Read a train or test file.

    Parameters
    ----------
    path : path, file-like object or NWBFile
    behavior : str or None
        Time series to read, where the file has it.

    Raises
    ------
    ValueError
        No trials, no units with `obs_intervals` and `heldout`, or behaviour that is not on the 1 ms grid.
    """
    with file.open_nwb(path, "nlb") as (nwb, origin):
        trials, units = nwb.trials, nwb.units
        if trials is None or units is None:
            raise ValueError(f"nlb: expected a file of the benchmark; '{path}' has no trials or no units. Pass a train or test file.")
        missing = [name for name in ("spike_times", "obs_intervals", "heldout") if name not in units.colnames]
        if missing:
            raise ValueError(f"nlb: the units of '{path}' lack the column {missing[0]!r} of the benchmark. Pass a train or test file.")
        if "split" not in trials.colnames:
            raise ValueError(f"nlb: the trials of '{path}' lack the column 'split' of the benchmark. Pass a train or test file.")
        table = file.frame(trials).reset_index(names="trial_id")
        held_out = file.read(units["heldout"].data).astype(bool)
        observed = _observed(units, held_out)
        return File(
            table=table,
            events={name: _nanoseconds(table[name]) for name in table if name.endswith("_time")},
            ids=file.read(units.id.data).astype(np.int64),
            held_out=held_out,
            spikes=file.read(units["spike_times"].target.data),
            ends=file.read(units["spike_times"].data).astype(np.int64),
            observed=observed,
            duration=round(_last_stop(units) * PER_SECOND),
            behavior=_behavior(nwb, behavior),
            origin=origin,
        )


def _nanoseconds(seconds: pd.Series) -> np.ndarray:
    """As pandas turns seconds into nanoseconds, which is how the benchmark cuts its windows."""
    return pd.to_timedelta(pd.Series(seconds.to_numpy(float)), unit="s").to_numpy().astype("timedelta64[ns]").astype(np.int64)


def _last_stop(units) -> float:
    flat, ends = file.read(units["obs_intervals"].target.data), file.read(units["obs_intervals"].data).astype(np.int64)
    return float(np.asarray(flat, float).reshape(-1, 2)[ends - 1, 1].max())


def _observed(units, held_out: np.ndarray) -> dict[bool, np.ndarray]:
    flat, ends = file.read(units["obs_intervals"].target.data), file.read(units["obs_intervals"].data).astype(np.int64)
    parts = np.split(np.asarray(flat, float).reshape(-1, 2), ends[:-1])
    return {kind: parts[int(np.flatnonzero(held_out == kind)[0])] for kind in (False, True) if (held_out == kind).any()}


def _behavior(nwb, name: str | None):
    """Values (frames, C) with their columns in alphabetical order of the names in the comments, and their grid samples."""
    found = {path: series for path, series in file.behavior_series(nwb).items() if path.split("/")[-1] == name}
    if not found:
        return None
    series = next(iter(found.values()))
    seconds = file.series_times(series).round(ROUND)
    at = np.rint(seconds * PER_SECOND).astype(np.int64)
    if not np.array_equal((at / PER_SECOND).round(ROUND), seconds):
        raise ValueError(f"nlb: the samples of '{name}' must lie on whole milliseconds; some do not. Resample them to 1 kHz.")
    values = np.asarray(file.read(series.data))  # as stored: the benchmark applies no conversion
    values = values.reshape(len(values), -1)
    comments = series.comments or ""
    names = comments.split("[")[-1].split("]")[0].split(",") if "columns=" in comments else [f"{i:04d}" for i in range(values.shape[1])]
    return values[:, np.argsort(names, kind="stable")], at
