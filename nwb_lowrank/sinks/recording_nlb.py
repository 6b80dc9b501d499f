"""write_nlb_recording: a simulated session of the benchmark as the files that the benchmark would release, and the truth it would keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from pynwb import NWBFile, TimeSeries
from pynwb.file import Subject

from ..sources.synthetic_nlb import World, kinematics
from ._safely import new_nwb, replacing
from .recording import START, SUBJECT, _digest

SERIES = {"mc": ("hand_pos", "hand_vel", "cursor_pos", "eye_pos"), "mc_rtt": ("finger_pos", "finger_vel", "cursor_pos"),
          "area2": ("hand_pos", "hand_vel")}  # fmt: skip
NOT_OURS = 1e-9  # seconds; intervals shorter than this are none


def write_nlb_recording(world: World, folder) -> dict[str, Path]:
    """Write the training file, the test file and the truth of the test file.

    The training file has the trials of splits train, val and none with all units and behaviour; test trials are cut out of its
    observation intervals and of the behaviour. The test file has the test trials with the held-in units only, and of the trial table
    only times and split. The truth is the test file with nothing left out.

    Parameters
    ----------
    world : World
        Of `simulate_nlb`.
    folder : path
        The files get the dandiset's names inside it; the truth's lies in its folder `truth`.

    Returns
    -------
    dict
        'train', 'test', 'truth' -> path
    """
    folder = Path(folder)
    dataset, test = world.dataset, (world.table["split"] == "test").to_numpy()
    names = () if dataset.behavior is None else SERIES.get(dataset.name, SERIES.get(dataset.name.split("_")[0]))
    series = (np.zeros(0), {}) if not names else kinematics(world, names)
    secret = ["start_time", "stop_time", *([] if dataset.align == "start_time" else [dataset.align]), "split"]
    everyone = np.ones(len(world.unit_ids), bool)
    paths = {"train": folder / dataset.train_file, "test": folder / dataset.test_file, "truth": folder / "truth" / dataset.test_file}
    for kind, chosen, columns, units in (("train", ~test, list(world.table), everyone), ("test", test, secret, ~world.held_out),
                                         ("truth", test, list(world.table), everyone)):  # fmt: skip
        nwb = NWBFile(f"Simulated {dataset.name}, {kind}", _digest(world.spike_times, world.table[columns][chosen]), START,
                      subject=Subject(**SUBJECT))  # fmt: skip
        observed = _intervals(world, chosen)
        _add_units(nwb, world, observed, units)
        _add_trials(nwb, world.table.loc[chosen, columns].reset_index(drop=True))
        if kind != "test":
            _add_behavior(nwb, _without(series, world.table[~chosen], round(observed[-1, 1] * 1000)))
        with replacing(paths[kind], "write_nlb_recording") as beside, new_nwb(beside) as io:
            io.write(nwb)
    return paths


def _intervals(world: World, chosen: np.ndarray) -> np.ndarray:
    """(K, 2) seconds observed: the chosen trials with their surroundings, joined, without the pauses and the trials of the other file."""
    edges, at = [], 0.0
    stops = np.r_[world.table["start_time"].to_numpy()[1:], np.inf]
    for (start, stop), (pause, on), following, keep, next_keep in zip(world.observed, world.paused, stops, chosen, np.r_[chosen[1:], True]):
        if keep:
            stop = stop if next_keep else min(stop, following)
            pieces = [(max(start, at), stop)] if np.isnan(pause) else [(max(start, at), pause), (on, stop)]
            edges += [piece for piece in pieces if piece[1] - piece[0] > NOT_OURS]
            at = stop
    joined = [list(edges[0])]
    for start, stop in edges[1:]:
        if start - joined[-1][1] < NOT_OURS:
            joined[-1][1] = stop
        else:
            joined.append([start, stop])
    return np.array(joined)


def _add_units(nwb: NWBFile, world: World, observed: np.ndarray, units: np.ndarray) -> None:
    device = nwb.create_device("array", description="Electrode array")
    group = nwb.create_electrode_group("group", "Electrodes", "unknown", device)
    nwb.add_unit_column("heldout", "whether the benchmark holds the unit out")
    for row in np.flatnonzero(units):
        nwb.add_electrode(location="unknown", group=group)
        times = world.spike_times[row]
        inside = np.searchsorted(observed[:, 0], times, "right") - 1
        times = times[(inside >= 0) & (times < observed[np.maximum(inside, 0), 1])]
        nwb.add_unit(spike_times=times, obs_intervals=observed, heldout=bool(world.held_out[row]), id=int(world.unit_ids[row]),
                     electrodes=[len(nwb.electrodes) - 1], electrode_group=group)  # fmt: skip


def _add_trials(nwb: NWBFile, table: pd.DataFrame) -> None:
    for name in table:
        if name not in ("start_time", "stop_time"):
            nwb.add_trial_column(name, name.replace("_", " "))
    for row in table.to_dict("records"):
        nwb.add_trial(**row)


def _without(series: tuple, others: pd.DataFrame, stop: int) -> tuple:
    """The samples outside the trials of the other file, up to the end of the recording (ms)."""
    times, values = series
    samples = np.round(times * 1000).astype(int)
    taken = np.zeros(samples[-1] + 1 if len(samples) else 0, bool)
    taken[stop:] = True
    for start, end in zip(others["start_time"], others["stop_time"]):
        taken[round(start * 1000) : round(end * 1000)] = True
    return times[~taken[samples]], {name: x[~taken[samples]] for name, x in values.items()}


def _add_behavior(nwb: NWBFile, series: tuple) -> None:
    times, values = series
    if not values:
        return
    module = nwb.create_processing_module("behavior", "Behaviour at 1 kHz")
    for name, samples in values.items():
        unit = "mm/s" if name.endswith("vel") else "mm"
        module.add(TimeSeries(name=name, data=samples, unit=unit, timestamps=times, comments="columns=[x,y]", description=name))
