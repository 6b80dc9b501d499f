"""Small benchmark files and submissions without any randomness, made to be awkward: what nlb_tools made of them is recorded beside."""

from datetime import datetime, timezone

import numpy as np
from pynwb import NWBHDF5IO, NWBFile, TimeSeries

BEHAVIOR = {"mc_maze_small": "hand_vel", "mc_rtt": "finger_vel", "area2_bump": "hand_vel", "dmfc_rsg": None}


def write_case(path, name):
    """A training file of 7 trials: events between bins and milliseconds, spikes on edges, gaps, a masked trial, NaN, unordered unit ids."""
    nwb = NWBFile("awkward", "awkward", datetime(2020, 1, 1, tzinfo=timezone.utc))
    split = ["train", "val", "train", "none", "train", "val", "train"]
    start = np.array([0.2, 3.0004, 6.0021, 9.5, 13.00999, 16.1, 19.3017])
    onset = start + np.array([0.9, 0.7004, 0.85, 0.8, 0.9, 0.7123, 0.75])
    columns = dict(split=split)
    if name == "mc_rtt":
        start[4:] = start[4] + np.array([0, 0.5, 1.0])  # windows that overlap
    elif name == "dmfc_rsg":
        ready, set_, go = start + 0.1, start + 0.9, start + 1.6 + 0.03 * np.arange(7)
        columns |= dict(ready_time=ready, set_time=set_, go_time=go, is_eye=[True, True, False, True, False, True, True],
                        is_short=[False] * 7, theta=[0.0] * 7, ts=[800.0] * 7, tp=np.round((go - set_) * 1000),
                        is_outlier=[0, 0, 0, 0, 0, 0, 1])  # fmt: skip
    else:
        onset[3] = np.nan
        columns |= dict(move_onset_time=onset)
        if "area2" in name:
            columns |= dict(cond_dir=[0.0, 0, 90, 90, 0, 90, 90], ctr_hold_bump=[True, False, True, False, False, True, True])
        else:
            columns |= dict(trial_type=[1, 1, 2, 2, 1, 2, 2], trial_version=[0] * 7)
    for column in columns:
        nwb.add_trial_column(column, column)
    for row in range(7):
        stop = start[row] + (0.6 if name == "mc_rtt" else 2.5)
        nwb.add_trial(start_time=start[row], stop_time=stop, **{column: values[row] for column, values in columns.items()})
    observed = np.array([[0.0, 9.8], [10.11234, 22.9]])
    nwb.add_unit_column("heldout", "held out")
    for unit, (unit_id, held_out) in enumerate([(7, False), (3, True), (12, False), (5, False), (9, True)]):
        times = np.round(0.013 + 0.0237 * np.arange(960) + 0.0009 * unit * np.sin(np.arange(960)), 4)
        times = np.sort(np.concatenate([times, [0.95, 0.955, 0.9549999999, 3.4504 + 0.001 * unit, 9.801, 10.112]]))
        nwb.add_unit(spike_times=times[times < 22.85], obs_intervals=observed, heldout=held_out, id=unit_id)
    if BEHAVIOR[name]:
        clock = np.round(np.arange(22_900) / 1000, 3)
        keep = (clock < 5.1) | (clock >= 5.4)
        values = np.stack([np.sin(3 * clock) * 100, np.cos(2 * clock + 1) * 80], 1)
        module = nwb.create_processing_module("behavior", "behaviour")
        module.add(TimeSeries(name=BEHAVIOR[name], data=values[keep], unit="mm/s", timestamps=clock[keep], comments="columns=[x,y]",
                              description="velocity"))  # fmt: skip
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


def summary(arrays):
    """What is compared of a set of tensors: shape, dtype, sums weighted by position, NaN; index lists in full."""
    out = {}
    for name, value in sorted(arrays.items()):
        if isinstance(value, list) or value.dtype == object:
            out[name] = [np.asarray(part).astype(int).tolist() for part in value]
            continue
        x = np.asarray(value, float)
        weight = 1 + np.arange(x.size).reshape(x.shape) % 101
        out[name] = [list(x.shape), str(value.dtype), float(np.nansum(x)), float(np.nansum(x * weight)), int(np.isnan(x).sum())]
    return out


def score_case(kind):
    """A target and a submission from sines: 'velocity' or 'timing'."""
    wave = lambda shape, a: 0.6 + 0.5 * np.sin(a * np.arange(np.prod(shape)) ** 1.3).reshape(shape)  # noqa: E731
    plan = (("train", 9, "heldin", 4, 1.1), ("train", 9, "heldout", 3, 1.2), ("eval", 8, "heldin", 4, 1.3), ("eval", 8, "heldout", 3, 1.4))
    rates = {f"{part}_rates_{units}": wave((trials, 12, n), a) for part, trials, units, n, a in plan}
    rates |= {f"eval_rates_{units}_forward": wave((8, 5, n), a) for units, n, a in (("heldin", 4, 1.5), ("heldout", 3, 1.6))}
    rates["eval_rates_heldout"][2, 3] = 0.0
    target = {name.replace("rates", "spikes"): np.floor(2.2 * wave(x.shape, 2.3)) for name, x in rates.items() if "eval" in name}
    del target["eval_spikes_heldin"]
    target["eval_spikes_heldout"][:, :, 1] = 0
    target["psth"] = wave((3, 12, 7), 0.7)
    target["psth"][:, :2] = np.nan
    target["psth"][..., 5] = 0.5  # exact: its spread is 0 in any order of summation
    target["eval_cond_idx"] = [np.array([0, 3, 6]), np.array([1, 4]), np.zeros(0, int)]
    if kind == "timing":
        target["eval_spikes_heldout"][np.arange(12)[None] < np.arange(8)[:, None] % 4] = np.nan
        condition = np.arange(8) % 2
        target["eval_behavior"] = np.stack([condition, condition, condition, 800 + 0 * condition, 700 + 50 * np.sin(np.arange(8))], 1)
        target["train_behavior"] = target["eval_behavior"][[0, 1, 2, 3, 4, 5, 6, 7, 0]]
        target["eval_jitter"] = np.arange(8) % 3
        return {"dmfc_rsg": target}, {"dmfc_rsg": rates}
    for part, trials in (("train", 9), ("eval", 8)):
        target[f"{part}_behavior"] = 100 * wave((trials, 12, 2), 0.31)
        target[f"{part}_behavior"][1, :4] = np.nan
    return {"mc_maze_20": target}, {"mc_maze_20": rates}
