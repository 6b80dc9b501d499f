"""read_nwb: units or calcium traces of one NWB file, cut and binned into Trials."""

from __future__ import annotations

from functools import partial

from ..trials import Trials
from . import _nwb_file as file
from ._cut import cut_trials
from ._nwb_behavior import read_behavior
from ._nwb_inputs import read_inputs
from ._nwb_signals import Corrections, read_signal
from ._nwb_units import read_spikes


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
    average_behavior: bool = False,
    neuropil: str | None = None,
    neuropil_weight: float = 0.7,
    dff: float | None = None,
    dff_percentile: float = 10.0,
) -> Trials:
    """Cut an NWB recording into trials of binned spikes, or of calcium traces.

    Parameters
    ----------
    path_or_file : str, path, file-like object or open NWBFile
        HDF5, or a Zarr folder (extra `zarr`). Read only; whatever is opened here is closed again.
    bin_width : float
        Seconds. Calcium traces may leave it out (one frame a bin); wider bins hold the mean of their frames.
    align : str
        Column of the interval table with the event's times; by default `start_time`.
    window : (start, stop)
        Seconds relative to the event. By default every trial runs from its start_time to its stop_time:
        shorter trials are padded and masked, and a last bin that is not whole is left out.
    table : str
        Interval table, or table of events, by name or path; by default `trials` if there is one. "none" cuts chunks all
        the same. Events start at their timestamp and stop after their duration; without durations they need `window`.
    trials : str
        pandas query on the interval table, such as "result == 'R'".
    units : str
        pandas query on the units table with the electrodes' `location` and, derived from the spikes,
        `rate` (Hz over the observed time), `n_spikes`, `isi_violation` (share of intervals below 1.5 ms) and `presence`
        (share of 100 equal parts of the observed time that hold a spike); on the ROI table for a calcium signal.
    signal : str
        Path of a RoiResponseSeries, such as "ophys/DfOverF/RoiResponseSeries", or of any other numeric series (one column
        a neuron or channel), or a pattern such as "ophys/neuron_*" that fits one series a neuron. By default spikes
        are read when there are any, otherwise the only ROI series.
    behavior : str or list of str
        Names or paths of series, in the unit that the file states, interpolated linearly to the bin centres.
    chunk : float
        Seconds. Cut the recording into chunks instead of trials (100 bins each by default). Every stretch
        without a gap starts a new chunk; the last chunk of each is padded and masked.
    mask_nan_behavior : bool
        Mask bins where the behaviour is NaN instead of refusing the file.
    inputs : str or list of str
        Known inputs of the model: a column of event times in the interval table (a step from the event on, or "go_cue_time:pulse"
        for its bin alone), any other column (one-hot, one input a value; "contrast:value" takes its number), or a behaviour
        series by name or path, interpolated like `behavior` and standardised over the windows cut.
    average_behavior : bool
        Take the mean of the samples in each bin instead of interpolating to its centre.
    neuropil : str
        Path of the ROI series of the neuropil, of which `neuropil_weight` is subtracted: F - weight * neuropil.
    dff : float
        Seconds. Take (F - F0) / F0, where the baseline F0 is the `dff_percentile` of F within dff / 2 of each frame.

    Returns
    -------
    Trials
        `mask` is False in padding, outside each unit's obs_intervals, in gaps between frames and where a trace
        is NaN; a bin counts as recorded only if all of it was observed. `origin["cut"]` holds the arguments that
        cut the same trials again, `origin["dropped"]` the trials that could not be cut, and why, and
        `origin["dropped_rois"]` the ROIs that carry no signal (never finite, constant, or without a positive baseline).

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
    corrections = Corrections(neuropil, neuropil_weight, dff, dff_percentile)
    spikes_only = all(given is None for given in (signal, behavior, inputs, neuropil, dff))
    with file.open_nwb(path_or_file, "read_nwb", tables_only=spikes_only) as (nwb, origin):
        corrections = corrections.found_in(nwb)
        recording = _recording(nwb, signal, corrections)
        series = partial(read_behavior, nwb, behavior, mask_nan=mask_nan_behavior, average=average_behavior) if behavior else None
        given = partial(read_inputs, nwb, inputs) if inputs else None
        more = dict(signal=recording.path if recording.kind == "signal" else None, mask_nan_behavior=bool(mask_nan_behavior),
                    average_behavior=bool(average_behavior), **corrections.arguments())  # fmt: skip
        cut = cut_trials(
            recording, file.interval_tables(nwb), origin, bin_width=bin_width, align=align, window=window, table=table, chunk=chunk,
            trials=trials, units=units, frame_of=file.interval_frame, behavior=series, inputs=given, more=more,
        )  # fmt: skip
    cut.origin["sha256"] = origin["sha256"]  # worked out meanwhile
    return cut


def _recording(nwb, signal: str | None, corrections: Corrections):
    found = read_spikes(nwb) if signal is None else None
    if found is not None and (corrections.neuropil is not None or corrections.dff is not None):
        raise ValueError("read_nwb: neuropil= and dff= are for fluorescence; this file has spikes. Leave them out, or pass signal=.")
    found = read_signal(nwb, signal, corrections) if found is None else found
    if found is None:
        raise ValueError(
            "read_nwb: the file has no units with spike times and no ROI response series. "
            "Pass a file with sorted spikes or calcium traces, signal= with another series, or use Trials.from_arrays."
        )
    return found
