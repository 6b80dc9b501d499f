"""write_recording: spike times, trials and behaviour that never were NWB, as a genuine NWB file."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.file import Subject

from ._safely import replacing

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
        Seconds, rising.
    obs_intervals : array (I, 2) or None
        When all units were observed, seconds.
    location : str or N strings
        Brain area of the units; every unit gets an electrode.
    subject : mapping or None
        Of pynwb's Subject: subject_id, species, sex, age, description.
    description, identifier, session_start_time
        Of the session; the identifier is random by default.
    resolution : float or None
        Of the spike times, seconds.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        Times that do not rise, or trials without start and stop.
    OSError
        The file cannot be written there.

    Examples
    --------
    >>> import tempfile
    >>> path = write_recording(tempfile.mkdtemp() + "/two.nwb", spike_times=[np.array([0.1, 0.3]), np.array([0.2])])
    """
    spike_times = [np.asarray(times, float) for times in spike_times]
    _check(spike_times, trials, behavior or {})
    nwb = NWBFile(
        session_description=description,
        identifier=identifier or str(uuid.uuid4()),
        session_start_time=session_start_time,
        subject=Subject(**(SUBJECT if subject is None else subject)),
    )
    _add_units(nwb, spike_times, obs_intervals, location, resolution)
    if trials is not None:
        _add_trials(nwb, trials)
    if behavior:
        module = nwb.create_processing_module("behavior", "Behaviour")
        for name, (timestamps, values, unit) in behavior.items():
            module.add(
                TimeSeries(name=name, data=np.asarray(values), timestamps=np.asarray(timestamps, float), unit=unit, description=name)
            )
    path = Path(path)
    with replacing(path, "write_recording", needed=8 * sum(map(len, spike_times))) as beside:
        with NWBHDF5IO(beside, "w") as io:
            io.write(nwb)
    return path


def _check(spike_times, trials, behavior) -> None:
    for neuron, times in enumerate(spike_times):
        if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
            raise ValueError(f"write_recording: spike times must be finite and rising; those of unit {neuron} are not. Sort them.")
    missing = [name for name in ("start_time", "stop_time") if trials is not None and name not in trials]
    if missing:
        raise ValueError(f"write_recording: trials need the columns start_time and stop_time in seconds; {missing[0]} is missing. Add it.")
    for name, (timestamps, values, _) in behavior.items():
        if len(timestamps) != len(values) or (np.diff(timestamps) <= 0).any():
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
