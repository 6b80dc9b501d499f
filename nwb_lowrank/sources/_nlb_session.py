"""Files of the benchmark on one clock, and what is cut from them: windows, binned spikes, decimated behaviour.

The conventions are the benchmark's (Pei et al. 2021; nlb_tools 0.0.4), so that targets and submissions fit to the bit: spikes are
truncated to milliseconds, a bin is unknown when its first millisecond was not observed, windows begin at the first bin edge at or
after their start, test files come before training files, behaviour is interpolated over gaps and then low-passed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ._nlb_file import ABSENT, MILLISECOND, File

TAPS = 500  # order of the FIR filter that decimates behaviour
JUST_BEFORE = 1000  # ns: windows do not include their end


@dataclass(frozen=True, eq=False)
class Cut:
    """Windows of some trials on the bin grid.

    rows : (B,) rows of the trial table;  first, last : (B,) first and last bin, both included;  zero : (B,) bin of the event
    """

    rows: np.ndarray
    first: np.ndarray
    last: np.ndarray
    zero: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.maximum(self.last - self.first + 1, 0)

    def bins(self, who: str = "nlb") -> np.ndarray:
        """(B, T) bins of windows of one length; ValueError when they differ."""
        lengths = self.lengths
        if len(lengths) == 0 or lengths.min() != lengths.max():
            raise ValueError(
                f"{who}: windows must have one length; got {sorted(set(lengths.tolist()))} bins (a window overlaps the next trial or "
                "leaves the recording). Leave such trials out of the split."
            )
        return self.first[:, None] + np.arange(lengths[0])


class Session:
    """Files on one clock (ms), in the order given, with 1 ms resolution, binned at `width` ms."""

    def __init__(self, files: list[File], width: int):
        self.files, self.width = files, width
        self.shifts = [0]
        for before in files[:-1]:
            past = (self.shifts[-1] + before.duration - 1) / 1000 + 0.05
            self.shifts.append(int(np.ceil(past * 10) * 100))
        self.length = self.shifts[-1] + files[-1].duration
        self.table = pd.concat([part.table for part in files], ignore_index=True)
        self.split = self.table["split"].to_numpy(str)
        held_out = np.concatenate([part.held_out for part in files])
        ids = np.concatenate([part.ids for part in files])
        self.units = {kind: np.unique(ids[held_out == kind]) for kind in (False, True)}

    @property
    def size(self) -> int:
        """Bins of the whole grid, the last one possibly cut short."""
        return -(-self.length // self.width)

    def chosen(self, *splits: str) -> np.ndarray:
        """(trials,) bool."""
        return np.isin(self.split, splits)

    @cached_property
    def _events(self) -> dict[str, np.ndarray]:
        names = dict.fromkeys(name for part in self.files for name in part.events)
        return {name: np.concatenate([self._shifted(part, name, shift) for part, shift in zip(self.files, self.shifts)]) for name in names}

    @staticmethod
    def _shifted(part: File, name: str, shift: int) -> np.ndarray:
        values = part.events.get(name)
        if values is None:
            return np.full(len(part.table), ABSENT)
        return np.where(values == ABSENT, ABSENT, values + shift * MILLISECOND)

    def event(self, name: str) -> np.ndarray:
        """(trials,) ns on the common clock, ABSENT where missing."""
        if name not in self._events:
            raise KeyError(f"nlb: no column {name!r} in the trials; they have {', '.join(self._events)}. Is this the right dataset?")
        return self._events[name]

    def cut(self, chosen: np.ndarray, *, align: np.ndarray, window=(None, None), start=None, stop=None, overlap: bool = False) -> Cut:
        """Windows of the chosen trials.

        chosen : bool (trials,);  align : ns (trials,);  window : ms around it, or None for `start` and `stop` (ns, trials)
        overlap : False ends a window where the next chosen trial (or its window) starts
        """
        rows = np.flatnonzero(chosen)
        start = self.event("start_time") if start is None else start
        stop = self.event("stop_time") if stop is None else stop
        begin = _plus(align, window[0] * MILLISECOND) if window[0] is not None else start
        end = _plus(_plus(align, window[1] * MILLISECOND) if window[1] is not None else stop, -JUST_BEFORE)
        following = np.append(self.event("start_time")[1:], ABSENT)
        bound = np.append(_earlier(following, begin)[rows][1:], ABSENT)
        begin, end, align, start = begin[rows], end[rows], align[rows], start[rows]
        if not overlap:
            end = np.where((bound != ABSENT) & (end > bound), bound - JUST_BEFORE, end)
        known = (begin != ABSENT) & (end != ABSENT) & (align != ABSENT) & (start != ABSENT)
        width = self.width * MILLISECOND
        first = np.maximum(-(-begin[known] // width), 0)
        last = np.minimum(end[known] // width, self.size - 1)
        return Cut(rows[known], first, last, -(-align[known] // width))

    def known(self, held_out: bool) -> np.ndarray:
        """(bins,) True where units of this kind were observed in the first millisecond of the bin."""
        return self._observed[held_out][:: self.width]

    @cached_property
    def _observed(self) -> dict[bool, np.ndarray]:
        out = {}
        for kind in (False, True):
            samples = np.zeros(self.length, bool)
            for part, shift in zip(self.files, self.shifts):
                samples[shift : shift + part.duration] = part.observed_samples(kind)
            out[kind] = samples
        return out

    def milliseconds(self, unit_id: int, held_out: bool) -> np.ndarray:
        """Grid samples of a unit's spikes while it was observed."""
        at = np.concatenate([part.milliseconds(unit_id) + shift for part, shift in zip(self.files, self.shifts)])
        return at[self._observed[held_out][at]]

    def counts(self, windows: dict[str, np.ndarray], held_out: bool) -> dict[str, np.ndarray]:
        """Spikes per bin, float16 (B, T, N) for bins (B, T) of each window; NaN where not observed and at bin −1."""
        ids, known = self.units[held_out], self.known(held_out)
        out = {name: np.empty((*bins.shape, len(ids)), np.float16) for name, bins in windows.items()}
        for column, unit_id in enumerate(ids):
            grid = np.bincount(self.milliseconds(unit_id, held_out) // self.width, minlength=self.size).astype(np.float16)
            for name, bins in windows.items():
                out[name][..., column] = grid[bins]
        for name, bins in windows.items():
            out[name][~(known[bins] & (bins >= 0))] = np.nan
        return out

    def behavior(self, cut: Cut) -> np.ndarray:
        """(B, T, C) decimated behaviour, T the longest window, NaN where unknown and after the end of shorter ones."""
        values, unknown = self._kinematics
        parts = _decimated(values, cut.first, cut.lengths, self.width, self.size)
        out = np.full((len(cut.rows), int(cut.lengths.max()), values.shape[1]), np.nan)
        for row, (part, first) in enumerate(zip(parts, cut.first)):
            out[row, : len(part)] = part
            out[row, : len(part)][unknown[(first + np.arange(len(part))) * self.width]] = np.nan
        return out

    @cached_property
    def _kinematics(self) -> tuple[np.ndarray, np.ndarray]:
        """(length, C) behaviour on the grid, interpolated over what is unknown, and where that is: (length, C)."""
        present = [(part.behavior, shift) for part, shift in zip(self.files, self.shifts) if part.behavior is not None]
        if not present:
            raise KeyError("nlb: the behaviour of this dataset is in none of the files. Pass the train file.")
        sample = present[0][0][0]
        values = np.full((self.length, sample.shape[1]), np.nan, sample.dtype)
        for (part, at), shift in present:
            inside = at + shift < self.length
            values[at[inside] + shift] = part[inside]
        unknown = np.isnan(values)
        if unknown.any():
            for column in values.T:
                gap = np.isnan(column)
                if not gap.all():
                    column[gap] = np.interp(np.flatnonzero(gap), np.flatnonzero(~gap), column[~gap])
        return values, unknown


def _decimated(values: np.ndarray, first: np.ndarray, lengths: np.ndarray, width: int, size: int) -> list[np.ndarray]:
    """Low-passed and downsampled windows (each (length, C)) of a 1 ms signal, equal to those of the whole signal decimated."""
    from scipy.signal import decimate

    margin = -(-(TAPS // 2) // width) + 1  # bins on either side that the filter looks at
    begin, end = np.maximum(first - margin, 0), np.minimum(first + lengths + margin, size)
    parts: list[np.ndarray] = [None] * len(first)
    for span in np.unique(end - begin):
        rows = np.flatnonzero((end - begin == span) & (end * width <= len(values)))
        for chunk in np.array_split(rows, -(-len(rows) // 256)) if len(rows) else ():
            samples = values[(begin[chunk] * width)[:, None] + np.arange(span * width)]
            for row, part in zip(chunk, decimate(samples, width, axis=1, n=TAPS, ftype="fir")):
                parts[row] = part[first[row] - begin[row] :][: lengths[row]]
    for row in np.flatnonzero(end * width > len(values)):  # the signal ends within the last bin
        part = decimate(values[begin[row] * width :], width, axis=0, n=TAPS, ftype="fir")
        parts[row] = part[first[row] - begin[row] :][: lengths[row]]
    return parts


def _plus(times: np.ndarray, shift: int) -> np.ndarray:
    return np.where(times == ABSENT, ABSENT, times + shift)


def _earlier(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Elementwise minimum that overlooks absent times."""
    return np.where(a == ABSENT, b, np.where(b == ABSENT, a, np.minimum(a, b)))
