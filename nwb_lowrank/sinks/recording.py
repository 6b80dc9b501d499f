"""write_recording: spike times, trials and behaviour that never were NWB, as a genuine NWB file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
from pynwb import NWBFile, TimeSeries
from pynwb.file import Subject

from ._safely import new_nwb, replacing

START = datetime(2020, 1, 1, tzinfo=timezone.utc)
SUBJECT = dict(subject_id="simulated", species="Macaca mulatta", sex="U", age="P1Y", description="simulated, not an animal")
RESOLUTION = 1e-7  # seconds, of the spike times of a simulation


def write_recording(
    path,
    *,
    spike_times: Sequence[np.ndarray],
    trials: pd.DataFrame | None = None,
    behavior: Mapping[str, tuple] | None = None,
    obs_intervals=None,
    location: str | Sequence[str] = "unknown",
    subject: Mapping[str, str] | None = None,
    description: str = "Simulated recording",
    identifier: str | None = None,
    session_start_time: datetime = START,
    resolution: float | None = RESOLUTION,
) -> Path:
    """Write an NWB file with units, electrodes, trials and behaviour.

    Parameters
    ----------
    path : str or path
        An existing file is replaced, in one step and only when the new one is complete.
    spike_times : sequence of N arrays
        Seconds, rising.
    trials : DataFrame or None
        `start_time` and `stop_time` (s), and any other column of one value a trial.
    behavior : mapping of name to (timestamps (S,), values (S,) or (S, C), unit)
        Seconds, rising. Evenly spaced ones are stored as a rate.
    obs_intervals : array (I, 2) or None
        When all units were observed, seconds.
    location : str or N strings
        Brain area of the units; every unit gets an electrode.
    subject : mapping or None
        Of pynwb's Subject: subject_id, species, sex, age, description.
    description, identifier, session_start_time
        Of the session; by default the identifier is a digest of spikes and trials: the same recording is called the same.
    resolution : float or None
        Of the spike times, seconds.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        No unit, times that do not rise, or trials without start and stop.
    OSError
        The file cannot be written there.

    Examples
    --------
    >>> import tempfile
    >>> path = write_recording(tempfile.mkdtemp() + "/two.nwb", spike_times=[np.array([0.1, 0.3]), np.array([0.2])])
    """
    spike_times = [np.asarray(times, float) for times in spike_times]
    _check(spike_times, trials, behavior or {}, obs_intervals, location)
    nwb = NWBFile(
        session_description=description,
        identifier=identifier or _digest(spike_times, trials),
        session_start_time=session_start_time,
        subject=Subject(**(SUBJECT if subject is None else subject)),
    )
    _add_units(nwb, spike_times, obs_intervals, location, resolution)
    if trials is not None:
        _add_trials(nwb, trials)
    if behavior:
        module = nwb.create_processing_module("behavior", "Behaviour")
        for name, (timestamps, values, unit) in behavior.items():
            clock = _clock(np.asarray(timestamps, float))
            module.add(TimeSeries(name=name, data=np.asarray(values), unit=unit, description=name.replace("_", " "), **clock))
    path = Path(path)
    with replacing(path, "write_recording", needed=8 * sum(map(len, spike_times))) as beside:
        with new_nwb(beside) as io:
            io.write(nwb)
    return path


def _digest(spike_times, trials) -> str:
    digest = hashlib.sha256(b"" if trials is None else trials.to_csv(index=False).encode())
    for times in spike_times:
        digest.update(len(times).to_bytes(8, "little") + times.tobytes())
    return digest.hexdigest()[:32]


def _clock(times: np.ndarray) -> dict:
    """Starting time and rate of evenly spaced samples (a rule of the inspector), else the timestamps."""
    steps = np.diff(times)
    even = len(steps) > 1 and np.ptp(steps) < 1e-6 * steps.mean()
    return dict(starting_time=times[0], rate=1 / steps.mean()) if even else dict(timestamps=times)


def _check(spike_times, trials, behavior, obs_intervals, location) -> None:
    if not spike_times:
        raise ValueError("write_recording: expected the spike times of at least one unit; got none. Pass a list of arrays.")
    if not isinstance(location, str) and len(location) != len(spike_times):
        raise ValueError(
            f"write_recording: location must be one name, or one a unit ({len(spike_times)}); got {len(location)}. Pass one for each."
        )
    if obs_intervals is not None and not (np.diff(np.asarray(obs_intervals, float).reshape(-1, 2)) > 0).all():
        raise ValueError("write_recording: obs_intervals must be rows of (start, stop) seconds with start < stop. Check their order.")
    for neuron, times in enumerate(spike_times):
        if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
            raise ValueError(f"write_recording: spike times must be finite and rising; those of unit {neuron} are not. Sort them.")
    missing = [name for name in ("start_time", "stop_time") if trials is not None and name not in trials]
    if missing:
        raise ValueError(f"write_recording: trials need the columns start_time and stop_time in seconds; {missing[0]} is missing. Add it.")
    if trials is not None and (trials["stop_time"] < trials["start_time"]).any():
        raise ValueError("write_recording: every trial must stop after it starts; some do not. Check stop_time.")
    for name, (timestamps, values, _) in behavior.items():
        if len(timestamps) != len(values) or not (np.diff(timestamps) > 0).all():
            raise ValueError(f"write_recording: behaviour '{name}' needs one rising timestamp a sample. Sort it, or drop repeated times.")


def _add_units(nwb: NWBFile, spike_times, obs_intervals, location, resolution) -> None:
    areas = [location] * len(spike_times) if isinstance(location, str) else list(location)
    device = nwb.create_device("array", description="Electrode array")
    groups = {area: nwb.create_electrode_group(f"group {area}", f"Electrodes in {area}", area, device) for area in dict.fromkeys(areas)}
    for area in areas:
        nwb.add_electrode(location=area, group=groups[area])
    observed = {} if obs_intervals is None else {"obs_intervals": np.asarray(obs_intervals, float).reshape(-1, 2)}
    for neuron, times in enumerate(spike_times):
        nwb.add_unit(spike_times=times, electrodes=[neuron], electrode_group=groups[areas[neuron]], **observed)
    nwb.units.resolution = resolution


def _add_trials(nwb: NWBFile, trials: pd.DataFrame) -> None:
    extra = [name for name in trials if name not in ("start_time", "stop_time")]
    for name in extra:
        nwb.add_trial_column(name, name.replace("_", " "))
    for row in trials.to_dict("records"):
        nwb.add_trial(**row)
