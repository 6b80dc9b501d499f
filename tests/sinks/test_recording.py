"""write_recording: arrays that never were NWB become a file like any other."""

import numpy as np
import pandas as pd
import pynwb
import pytest
from pynwb import NWBHDF5IO

from nwb_lowrank.sinks.recording import write_recording
from nwb_lowrank.sources.nwb import read_nwb

TIMES = np.arange(0, 4, 0.01)
UNEVEN = np.cumsum(np.random.default_rng(1).uniform(0.005, 0.02, 300))


def arrays() -> dict:
    random = np.random.default_rng(0)
    starts = 0.5 + np.arange(5) * 0.6
    return dict(
        # a silent unit too; no spike in the gap
        spike_times=[np.sort(np.r_[random.uniform(0, 2, size), random.uniform(2.5, 4, size)]) for size in (40, 0, 25)],
        trials=pd.DataFrame(dict(start_time=starts, stop_time=starts + 0.5, side=list("LRLRL"), size=np.arange(5), hit=starts > 1)),
        behavior={"hand_velocity": (TIMES, np.stack([np.sin(TIMES), TIMES], 1), "cm/s"), "pupil": (UNEVEN, UNEVEN**2, "mm")},
        obs_intervals=[[0.0, 2.0], [2.5, 4.0]],
        location=["M1", "PMd", "M1"],
    )


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return write_recording(tmp_path_factory.mktemp("recording") / "session.nwb", **arrays())


def test_every_number_is_in_the_file(recording):
    given = arrays()
    with NWBHDF5IO(recording, "r") as io:
        nwb = io.read()
        for unit, times in enumerate(given["spike_times"]):
            np.testing.assert_array_equal(nwb.units["spike_times"][unit], times)
            np.testing.assert_array_equal(nwb.units["obs_intervals"][unit], given["obs_intervals"])
        assert nwb.units.resolution == 1e-7
        assert [row["location"].item() for row in nwb.units["electrodes"][:]] == given["location"]
        pd.testing.assert_frame_equal(nwb.trials.to_dataframe(), given["trials"].rename_axis("id"), check_dtype=False)
        for name, (times, values, unit) in given["behavior"].items():
            series = nwb.processing["behavior"][name]
            np.testing.assert_array_equal(series.data[:], values)
            # evenly spaced times come back from their rate: a few roundings
            np.testing.assert_allclose(series.get_timestamps(), times, atol=1e-12)
            assert series.unit == unit


def test_counts_behavior_and_gaps_are_read_back(recording):
    given = arrays()
    trials = read_nwb(recording, bin_width=0.05, behavior=["hand_velocity"])
    edges = trials.starts[:, None] + np.arange(trials.bins + 1) * 0.05
    for neuron, times in enumerate(given["spike_times"]):
        counts = np.stack([np.histogram(times, row)[0] for row in edges])  # no random spike lies on an edge
        np.testing.assert_array_equal(trials.counts[..., neuron], np.where(trials.mask[..., neuron], counts, 0))
    gap = (trials.times > 2.0) & (trials.times < 2.5)
    np.testing.assert_array_equal(trials.mask.all(-1), ~gap)
    np.testing.assert_allclose(trials.behavior[..., 1], trials.times, atol=1e-9)  # linear: interpolation is exact
    assert list(trials.table["side"]) == list("LRLRL")


def test_it_is_valid_and_the_inspector_finds_nothing_grave(recording):
    inspector = pytest.importorskip("nwbinspector")
    assert pynwb.validate(path=str(recording)) == []
    found = [(m.importance.name, m.check_function_name) for m in inspector.inspect_nwbfile(nwbfile_path=str(recording))]
    assert [finding for finding in found if finding[0] != "BEST_PRACTICE_SUGGESTION"] == []


def test_the_same_recording_is_called_the_same(recording, tmp_path):
    names = []
    for changed in ({}, {"trials": None}, {"spike_times": arrays()["spike_times"][:2], "location": "M1"}):
        with NWBHDF5IO(write_recording(tmp_path / "again.nwb", **arrays() | changed), "r") as io:
            names.append(io.read().identifier)
    with NWBHDF5IO(recording, "r") as io:
        assert io.read().identifier == names[0]
    assert len(set(names)) == 3


def test_it_needs_no_trials_behavior_or_gaps(tmp_path):
    path = write_recording(tmp_path / "bare.nwb", spike_times=[[0.1, 0.3, 1.7], [0.2, 0.25, 1.9]], identifier="bare")
    trials = read_nwb(path, bin_width=0.1, chunk=0.5)
    assert trials.counts.sum() == 6 and trials.origin["identifier"] == "bare"


BAD = {
    "no units": (dict(spike_times=[]), "at least one unit"),
    "spikes that fall": (dict(spike_times=[[0.2, 0.1]], location="M1"), "rising"),
    "spikes that are NaN": (dict(spike_times=[[0.2, np.nan]], location="M1"), "finite"),
    "no stop_time": (dict(trials=pd.DataFrame(dict(start_time=[0.0]))), "stop_time is missing"),
    "stop before start": (dict(trials=pd.DataFrame(dict(start_time=[1.0], stop_time=[0.5]))), "stop after it starts"),
    "samples without times": (dict(behavior={"x": (TIMES, TIMES[1:], "m")}), "one rising timestamp a sample"),
    "times that are NaN": (dict(behavior={"x": ([0.0, np.nan, 1.0], [1, 2, 3], "m")}), "one rising timestamp a sample"),
    "empty intervals": (dict(obs_intervals=[[1.0, 1.0]]), "start < stop"),
    "too few locations": (dict(location=["M1"]), "one a unit"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_arrays_are_refused_and_nothing_is_written(tmp_path, bad):
    change, message = BAD[bad]
    with pytest.raises(ValueError, match=f"write_recording: .*{message}"):
        write_recording(tmp_path / "new" / "bad.nwb", **arrays() | change)
    assert list(tmp_path.iterdir()) == []


def test_an_accident_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_recording(tmp_path / "session.nwb", **arrays())
    before = path.read_bytes()

    def fail(*args, **options):
        raise RuntimeError("accident")

    monkeypatch.setattr(NWBHDF5IO, "write", fail)
    with pytest.raises(RuntimeError):
        write_recording(path, **arrays())
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
