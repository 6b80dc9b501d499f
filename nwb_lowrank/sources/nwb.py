"""read_nwb: units or calcium traces of one NWB file, cut and binned into Trials."""

from __future__ import annotations

from numbers import Real

import numpy as np

from ..trials import Trials
from . import _nwb_file as file
from ._nwb_behavior import read_behavior
from ._nwb_inputs import read_inputs
from ._nwb_signals import SAME, read_signal
from ._nwb_units import read_spikes
from ._windows import CHUNK_BINS, Windows, chunk_windows, query, table_windows

MOST_ENTRIES = 4_000_000_000  # counts of a reading: 16 GB as float32, a slip of the hand in bin_width


def read_nwb(
    path_or_file,
    *,
    bin_width: float | None = None,
    align: str | None = None,
    window: tuple[float, float] | None = None,
    table: str | None = None,
    trials: str | None = None,
    units: str | None = None,
    signal: str | None = None,
    behavior: str | list[str] | None = None,
    chunk: float | None = None,
    mask_nan_behavior: bool = False,
    inputs: str | list[str] | None = None,
) -> Trials:
    """Cut an NWB recording into trials of binned spikes, or of calcium traces.

    Parameters
    ----------
    path_or_file : str, path, file-like object or open NWBFile
        Read only; whatever is opened here is closed again.
    bin_width : float
        Seconds. Calcium traces may leave it out (one frame a bin); wider bins hold the mean of their frames.
    align : str
        Column of the interval table with the event's times; by default `start_time`.
    window : (start, stop)
        Seconds relative to the event. By default every trial runs from its start_time to its stop_time:
        shorter trials are padded and masked, and a last bin that is not whole is left out.
    table : str
        Interval table by name or path; by default `trials` if there is one. "none" cuts chunks all the same.
    trials : str
        pandas query on the interval table, such as "result == 'R'".
    units : str
        pandas query on the units table with the electrodes' `location` and, derived from the spikes,
        `rate` (Hz over the observed time) and `n_spikes`; on the ROI table for a calcium signal.
    signal : str
        Path of a RoiResponseSeries, such as "ophys/DfOverF/RoiResponseSeries". By default spikes are
        read when there are any, otherwise the only ROI series.
    behavior : str or list of str
        Names or paths of series to interpolate linearly to the bin centres.
    chunk : float
        Seconds. Cut the recording into chunks instead of trials (100 bins each by default). Every stretch
        without a gap starts a new chunk; the last chunk of each is padded and masked.
    mask_nan_behavior : bool
        Mask bins where the behaviour is NaN instead of refusing the file.
    inputs : str or list of str
        Known inputs of the model: a column of event times in the interval table (a step from the event on, or "go_cue_time:pulse"
        for its bin alone), any other column (one-hot, one input a value; "contrast:value" takes its number), or a behaviour
        series by name or path, interpolated like `behavior` and standardised over the windows cut.

    Returns
    -------
    Trials
        `mask` is False in padding, outside each unit's obs_intervals, in gaps between frames and where a trace
        is NaN; a bin counts as recorded only if all of it was observed. `origin["cut"]` holds the arguments that
        cut the same trials again, `origin["dropped"]` the trials that could not be cut, and why.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError, TypeError
        One sentence that names what to change.

    Notes
    -----
    A spike belongs to bin floor((t - start) / bin_width), rounded at the sixth decimal of a bin so that
    floating-point times on an edge fall where integer arithmetic puts them. Without obs_intervals the recording
    lasts from 0 to the last spike or the last edge of an interval table; it starts earlier if something happens
    before 0, and with the first of these events if that comes later than the events last (a clock that counts
    from elsewhere). Times are on the file's clock (seconds after timestamps_reference_time).

    Examples
    --------
    >>> trials = read_nwb("session.nwb", bin_width=0.02, align="move_onset_time", window=(-0.25, 0.45))  # doctest: +SKIP
    """
    with file.open_nwb(path_or_file, "read_nwb") as (nwb, origin):
        recording = _recording(nwb, signal).select(units)
        if len(recording.frame) == 1:
            raise ValueError("read_nwb: a low-rank model needs at least 2 neurons; got 1. Loosen units=.")
        width = _bin_width(bin_width, recording)
        windows, cut_at = _windows(nwb, recording, width, align, window, table, chunk, trials)
        windows = recording.snap(_checked_size(windows, len(recording.frame)))
        counts, mask = recording.cut(windows)
        windows, counts, mask = _drop_unrecorded(windows, counts, mask)
        fields, paths = read_behavior(nwb, behavior, windows, mask_nan_behavior) if behavior else ({}, None)
        given, named = read_inputs(nwb, inputs, windows) if inputs else ({}, None)
        cut = dict(bin_width=width, **cut_at, trials=trials, units=units, behavior=paths, inputs=named)
        cut |= dict(signal=recording.path if recording.kind == "signal" else None, mask_nan_behavior=bool(mask_nan_behavior))
    return Trials(
        counts=counts,
        mask=mask,
        bin_width=width,
        starts=windows.starts,
        unit_ids=recording.frame.index.to_numpy(),
        held_out=_held_out(recording),
        table=windows.table,
        origin=dict(origin, kind=recording.kind, cut=cut, dropped=list(windows.dropped), **recording.facts(counts, mask)),
        **fields,
        **given,
    )


def _recording(nwb, signal: str | None):
    found = read_spikes(nwb) if signal is None else None
    found = read_signal(nwb, signal) if found is None else found
    if found is None:
        raise ValueError(
            "read_nwb: the file has no units with spike times and no ROI response series. "
            "Pass a file with sorted spikes or calcium traces, or use Trials.from_arrays."
        )
    return found


def _bin_width(bin_width: float | None, recording) -> float:
    interval = recording.frame_interval
    if bin_width is None and interval is None:
        raise ValueError("read_nwb: spike times need bin_width= in seconds, such as 0.02; got None.")
    if bin_width is None:
        return interval
    if not (isinstance(bin_width, Real) and np.isfinite(bin_width) and bin_width > 0):
        raise ValueError(f"read_nwb: bin_width must be a positive number of seconds; got {bin_width!r}.")
    width = float(bin_width)
    if interval is not None and abs(width / interval - 1) < SAME:
        return interval  # 0.0333 means the frame rate, and must not drift away from the frames
    if interval is not None and width < interval:
        raise ValueError(
            f"read_nwb: bins of {width:g} s are shorter than a frame ({interval:g} s). Leave bin_width out for one frame a bin."
        )
    return width


def _windows(nwb, recording, width, align, window, table, chunk, trials) -> tuple[Windows, dict]:
    """The windows, and the arguments that choose them again."""
    tables = file.interval_tables(nwb)
    chunks = chunk is not None or table == "none" or (table is None and "trials" not in tables)
    if chunks and (align is not None or window is not None or (chunk is not None and table not in (None, "none"))):
        if chunk is not None or table == "none":
            raise ValueError("read_nwb: chunks have no trials to align to. Pass chunk=, or table=, align= and window=.")
        raise ValueError(f"read_nwb: align= and window= need an interval table. Pass table= {_listed(tables)}.")
    if chunks:
        windows = chunk_windows(recording.segments(width), width, chunk)
        windows = windows.select(query(windows.table, trials, "chunk"))
        cut = dict(table="none", chunk=CHUNK_BINS * width if chunk is None else float(chunk))
    else:
        path, chosen = file.find(tables, "trials" if table is None else table, "read_nwb", "interval table")
        frame = file.frame(chosen)
        frame = frame[query(frame, trials, "trial")]
        if not len(frame):
            why = f"no row satisfies {trials!r}. Loosen trials=." if trials else "it has no rows. Pass chunk= seconds."
            raise ValueError(f"read_nwb: intervals '{path}' give no trial: {why}")
        windows = table_windows(frame, path, width, align, window)
        window = None if window is None else [float(edge) for edge in window]
        cut = dict(table=path, align=align, window=window)
    if len(windows.starts) < 2:
        raise ValueError(f"read_nwb: a fit needs more than one trial; got {len(windows.starts)}. "
                         "Cut the recording into more pieces: pass a (shorter) chunk= in seconds.")  # fmt: skip
    return windows, cut


def _listed(tables: dict) -> str:
    return f"one of {', '.join(tables)}" if tables else "(this file has none), or chunk= seconds instead"


def _checked_size(windows: Windows, neurons: int) -> Windows:
    entries = len(windows.starts) * windows.bins * neurons
    if entries > MOST_ENTRIES:
        raise ValueError(
            f"read_nwb: {len(windows.starts)} trials of {windows.bins} bins and {neurons} neurons "
            f"need {entries * 4e-9:.3g} GB. "
            "Pass a larger bin_width=, a window=, or fewer trials= or units=."
        )
    return windows


def _drop_unrecorded(windows: Windows, counts, mask):
    recorded = mask.any((1, 2))
    if not recorded.any():
        raise ValueError(
            f"read_nwb: nothing was recorded in any of the {len(recorded)} windows chosen. Pass a window= or trials= inside the recording."
        )
    kept = windows.keep(recorded, "outside the recording")
    if recorded.sum() < 2:
        raise ValueError("read_nwb: a fit needs more than one trial; only 1 of the windows chosen was recorded. "
                         "Pass another window=, or chunk= seconds.")  # fmt: skip
    if not (counts * mask).any():
        raise ValueError("read_nwb: zero spikes (or a signal that is always 0) in the windows chosen. "
                         "Pass other units=, trials= or window=.")  # fmt: skip
    return kept, counts[recorded][:, : kept.bins], mask[recorded][:, : kept.bins]


def _held_out(recording) -> np.ndarray:
    held_out = recording.held_out
    if held_out.all():
        raise ValueError("read_nwb: every unit chosen is marked `heldout`; at least one must be shown. Loosen units=.")
    return held_out
