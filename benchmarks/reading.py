"""Opening and binning one NWB file: this package against pynapple, nlb_tools and plain pynwb loops on the same file.

    python benchmarks/reading.py /tmp/reading.nwb                       # makes the file (2 M spikes, 200 units, 600 s), then runs every way
    python benchmarks/reading.py /tmp/reading.nwb --python /tmp/rivals/bin/python      # rivals in an environment of their own
    python benchmarks/reading.py /tmp/reading.nwb --way pynapple --once  # one way, in this process, as JSON

Every way runs in a process of its own; imports are not counted. Seconds are CPU time of that process (the machine may be shared),
the best of --repeats; memory is the largest resident set of the process, imports included. `nlb_tools` stands for what its loader does
(a whole-session table of 1 ms bins, summed to 5 ms); the real one runs where it is installed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

UNITS, SECONDS, WIDTH, SPIKES = 200, 600.0, 0.005, 2_000_000
WINDOWS, BEFORE, AFTER = 300, -0.25, 0.45


def make(path: Path) -> None:
    """Poisson spikes of log-normal rates, at whole 0.1 ms so that integer arithmetic knows every bin; 300 reaches."""
    from datetime import datetime, timezone

    from pynwb import NWBHDF5IO, NWBFile

    random = np.random.default_rng(0)
    share = random.lognormal(0, 1, UNITS)
    numbers = random.multinomial(SPIKES, share / share.sum())
    nwb = NWBFile("benchmark", "benchmark-1", datetime(2020, 1, 1, tzinfo=timezone.utc))
    nwb.add_unit_column("heldout", "kept back")
    for unit, number in enumerate(numbers):
        ticks = np.sort(random.integers(0, int(SECONDS * 1e4), number))
        nwb.add_unit(spike_times=ticks * 1e-4, obs_intervals=[[0.0, SECONDS]], heldout=unit % 4 == 0)
    nwb.units.resolution = 1e-4
    nwb.add_trial_column("move_onset_time", "onset")
    for start in np.arange(WINDOWS) * 1.9 + 1:
        nwb.add_trial(start_time=start, stop_time=start + 1.5, move_onset_time=round(start + random.uniform(0.4, 0.9), 4))
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)


# Each way: a function of the path that returns counts (bins, units), or (windows, bins, units).


def ours(path):
    from nwb_lowrank.sources.nwb import read_nwb

    trials = read_nwb(path, bin_width=WIDTH, chunk=10.0)
    return trials.counts.reshape(-1, trials.neurons)


def ours_aligned(path):
    from nwb_lowrank.sources.nwb import read_nwb

    return read_nwb(path, bin_width=WIDTH, align="move_onset_time", window=(BEFORE, AFTER)).counts


def pynapple(path):
    import pynapple as nap

    session = nap.load_file(str(path))
    return np.asarray(session["units"].count(WIDTH, nap.IntervalSet(0, SECONDS)).values)


def _opened(path):
    from pynwb import NWBHDF5IO

    io = NWBHDF5IO(path, "r", load_namespaces=True)
    return io, io.read()


def pynwb_histogram(path):
    io, nwb = _opened(path)
    edges = np.arange(round(SECONDS / WIDTH) + 1) * WIDTH
    counts = np.stack([np.histogram(nwb.units["spike_times"][i], edges)[0] for i in range(len(nwb.units))], axis=1)
    io.close()
    return counts


def pynwb_get(path):
    io, nwb = _opened(path)
    edges = np.arange(round(SECONDS / WIDTH) + 1) * WIDTH
    counts = np.stack([np.histogram(nwb.units.get_unit_spike_times(i), edges)[0] for i in range(len(nwb.units))], axis=1)
    io.close()
    return counts


def pynwb_aligned(path):
    """300 windows, one histogram a window and unit: what an analysis script does."""
    io, nwb = _opened(path)
    onsets = nwb.trials["move_onset_time"][:]
    edges = np.arange(round((AFTER - BEFORE) / WIDTH) + 1) * WIDTH + BEFORE
    spikes = [nwb.units["spike_times"][i] for i in range(len(nwb.units))]
    counts = np.stack([np.stack([_window(times, onset, edges) for times in spikes], -1) for onset in onsets])
    io.close()
    return counts


def _window(times, onset, edges):
    first, last = np.searchsorted(times, (onset + edges[0], onset + edges[-1]))
    return np.histogram(times[first:last] - onset, edges)[0]


def nlb_like(path):
    """1 ms counts of the whole session in a pandas table, then summed to 5 ms."""
    import pandas as pd

    io, nwb = _opened(path)
    frame, size = {}, round(SECONDS * 1000)
    units = nwb.units.to_dataframe()
    for row in units.itertuples():
        counts = np.zeros(size, np.float16)
        where, number = np.unique((np.asarray(row.spike_times).round(6) * 1000).astype(int), return_counts=True)
        counts[where[where < size]] = number[where < size]
        frame[row.Index] = counts
    table = pd.DataFrame(frame, index=pd.to_timedelta(np.arange(size), unit="ms"))
    out = table.groupby(np.arange(size) // round(WIDTH * 1000)).sum()
    io.close()
    return out.to_numpy()


def nlb_tools(path):
    from nlb_tools.nwb_interface import NWBDataset

    dataset = NWBDataset(str(path), split_heldout=False)
    dataset.resample(round(WIDTH * 1000))
    return dataset.data["spikes"].to_numpy()


WAYS = {way.__name__: way for way in (ours, pynapple, pynwb_histogram, pynwb_get, nlb_like, nlb_tools, ours_aligned, pynwb_aligned)}


def truth(path, aligned: bool) -> np.ndarray:
    """Counts by integer arithmetic on the 0.1 ms grid."""
    io, nwb = _opened(path)
    bins, step = (round((AFTER - BEFORE) / WIDTH) if aligned else round(SECONDS / WIDTH)), round(WIDTH * 1e4)
    starts = np.round((nwb.trials["move_onset_time"][:] + BEFORE) * 1e4).astype(int) if aligned else np.zeros(1, int)
    counts = np.zeros((len(starts), bins, len(nwb.units)), np.int64)
    for unit in range(len(nwb.units)):
        ticks = np.round(nwb.units["spike_times"][unit] * 1e4).astype(int)
        for row, start in enumerate(starts):
            k = (ticks - start) // step
            counts[row, :, unit] = np.bincount(k[(k >= 0) & (k < bins)], minlength=bins)
    io.close()
    return counts if aligned else counts[0]


def _peak() -> float:
    """Largest resident set of this process, MB (getrusage's figure would start with that of the parent)."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def once(path: Path, name: str) -> dict:
    """One run in this process, after a first one on which nothing is counted but imports and compilation."""
    warm = path.with_name(path.stem + "_warm.nwb")
    if not warm.exists():
        global UNITS, SPIKES
        keep, UNITS, SPIKES = (UNITS, SPIKES), 8, 4000
        make(warm)
        UNITS, SPIKES = keep
    WAYS[name](warm)
    base, cpu, wall = _peak(), time.process_time(), time.perf_counter()
    counts = WAYS[name](path)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = _peak()
    right = truth(path, counts.ndim == 3)
    wrong = int(np.abs(np.nan_to_num(np.asarray(counts[: len(right)], float)) - right[: len(counts)]).sum())
    return dict(way=name, cpu=cpu, wall=wall, imports_mb=base, peak_mb=peak, misplaced=wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--python", default=sys.executable, help="of the environment with the rivals")
    parser.add_argument("--way", choices=WAYS, nargs="+", default=list(WAYS))
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--once", action="store_true")
    options = parser.parse_args()
    if not options.file.exists():
        make(options.file)
    if options.once:
        print(json.dumps(once(options.file, options.way[0])))
        return
    print(f"{'way':<18}{'CPU s':>8}{'wall s':>8}{'peak MB':>9}{'imports MB':>12}{'misplaced':>11}")
    for name in options.way:
        runs = []
        for _ in range(options.repeats):
            python = sys.executable if name.startswith("ours") else options.python
            done = subprocess.run([python, __file__, str(options.file), "--way", name, "--once"], capture_output=True, text=True)
            if done.returncode:
                print(f"{name:<18} not run: {done.stderr.strip().splitlines()[-1]}")
                break
            runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
        else:
            best = min(runs, key=lambda run: run["cpu"])
            print(f"{name:<18}{best['cpu']:>8.3f}{min(r['wall'] for r in runs):>8.3f}{max(r['peak_mb'] for r in runs):>9.0f}"
                  f"{best['imports_mb']:>12.0f}{best['misplaced']:>11}")  # fmt: skip


if __name__ == "__main__":
    main()
