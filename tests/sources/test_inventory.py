"""inventory and suggest: what a file holds, and options by rule."""

import numpy as np
import pytest
from pynwb import TimeSeries
from pynwb.epoch import TimeIntervals

from nwb_lowrank.sources._resolution import data_resolution
from nwb_lowrank.sources.inventory import inventory
from nwb_lowrank.sources.nwb import read_nwb
from nwb_lowrank.sources.suggest import suggest


def poisson(rate, seconds, units, seed=0):
    rng = np.random.default_rng(seed)
    return [np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds))) for _ in range(units)]


def spread(rate, width, bins, rng):
    """Spike times made up from counts: n spikes at (j + 1/2) / n of their bin."""
    counts = rng.poisson(rate * width, bins)
    return np.concatenate([(k + (np.arange(n) + 0.5) / n) * width for k, n in enumerate(counts) if n])


@pytest.mark.parametrize("width", [0.1, 0.02, 0.005])
def test_resolution_of_spikes_spread_in_bins_and_on_a_grid(width):
    rng = np.random.default_rng(0)
    made_up = [spread(20, width, int(50 / width), rng) for _ in range(4)]
    found = data_resolution(made_up, [np.zeros(1)])
    assert found.width == width and "evenly" in found.layout
    grid = [np.sort(rng.integers(0, 50 / width, 1000)) * width for _ in range(4)]
    found = data_resolution(grid, [np.zeros(1)])
    assert found.width == width and "grid" in found.layout
    assert data_resolution(poisson(10, 50, 4), [np.zeros(1)]) is None


def test_bins_that_start_with_each_trial_are_found():
    rng = np.random.default_rng(1)
    starts = np.arange(20) * 3.0 + rng.uniform(0, 1, 20)
    times = [np.concatenate([start + spread(15, 0.05, 30, rng) for start in starts]) for _ in range(3)]
    assert data_resolution(times, [np.zeros(1)]) is None
    assert data_resolution(times, [np.zeros(1), starts]).width == 0.05


def test_inventory_lists_everything_but_our_own_results(make_nwb, write):
    times = np.arange(0, 50, 0.02)
    nwb = make_nwb(
        [*poisson(5, 50, 3), []], electrodes=["CA1"] * 4,
        trials=dict(start_time=[1.0, 5.0], stop_time=[3.0, 8.0], side=["l", "r"]),
        tables=dict(sleep=dict(start_time=[0.0], stop_time=[9.0])), behavior=dict(hand_vel=(times, times, dict(unit="m/s"))),
    )  # fmt: skip
    module = nwb.create_processing_module("lowrank_rnn", "results")
    windows = TimeIntervals(name="night_windows", description="intervals")
    windows.add_row(start_time=0.0, stop_time=1.0)
    module.add([windows, TimeSeries(name="night_latents", data=np.ones((5, 2)), unit="a.u.", rate=1.0)])
    found = inventory(write(nwb))
    assert found.results == ["night"] and list(found.tables) == ["sleep", "trials"]
    assert list(found.behavior.index) == ["behavior/hand_vel"] and found.behavior["rate"].iloc[0] == pytest.approx(50)
    assert (found.units["n_spikes"] == 0).sum() == 1 and set(found.units["location"]) == {"CA1"}
    text = found.text()
    for word in ("synthetic-1", "4, 1 of them silent", "sleep: 1 rows", "side", "text: l, r", "hand_vel", "night"):
        assert word in text


def session_with_onsets(make_nwb, rows):
    starts = np.arange(rows) * 3.0
    trials = dict(start_time=starts, stop_time=starts + 2, move_onset_time=starts + 1)
    times = np.arange(0, rows * 3, 0.01)
    pauses = times[(times % 3) < 0.5]
    unit = dict(unit="m/s")
    behavior = {"a_vel_pauses": (pauses, pauses, unit), "b_vel_nan": (times, times * np.nan, unit),
                "hand_pos": (times, times, unit), "hand_vel": (times, times, unit)}  # fmt: skip
    return make_nwb(poisson(4, rows * 3, 8), trials=trials, behavior=behavior)


def test_an_onset_is_aligned_to_and_a_full_velocity_decoded(make_nwb):
    nwb = session_with_onsets(make_nwb, 30)
    options = suggest(inventory(nwb))["options"]
    assert (options["table"], options["align"], options["chunk"]) == ("trials", "move_onset_time", None)
    assert options["window"] == (-0.25, 0.45)
    assert options["bin_width"] == 0.02 and options["behavior"] == ["behavior/hand_vel"]


def test_too_few_trials_become_chunks(make_nwb):
    options = suggest(inventory(session_with_onsets(make_nwb, 3)))["options"]
    assert options["align"] is None and options["window"] is None and options["chunk"] > 0


def test_nothing_to_suggest(make_nwb):
    with pytest.raises(ValueError, match="nothing can be fitted"):
        suggest(inventory(make_nwb()))


READ = ("bin_width", "table", "align", "window", "chunk", "behavior", "signal", "units")
EXPECTED = {
    "chewie_center_out.nwb": dict(bin_width=0.1, table="trials", window=None, chunk=None, observation="poisson", rank=5),
    "hippocampus_linear_track.nwb": dict(bin_width=0.1, chunk=10.0, behavior=["behavior/Position/led"]),
    "human_mtl_dandi000207.nwb": dict(bin_width=0.05, table="encoding_table", behavior=[]),
    "mc_maze_two_trials.nwb": dict(bin_width=0.02, chunk=0.4, behavior=["behavior/hand_vel"]),
    "songbird_hvc_calcium.nwb": dict(
        bin_width=None, chunk=1.1, observation="gaussian", signal="ophys/DfOverF/RoiResponseSeries"
    ),  # fmt: skip
}


@pytest.mark.parametrize("name", EXPECTED)
def test_real_recordings_read_as_suggested(shared, name):
    found = inventory(shared(name))
    options = suggest(found)["options"]
    assert {key: options[key] for key in EXPECTED[name]} == EXPECTED[name]
    assert found.text()
    trials = read_nwb(shared(name), **{key: options[key] for key in READ})
    again = read_nwb(shared(name), **trials.origin["cut"])
    assert np.array_equal(trials.counts, again.counts) and np.array_equal(trials.mask, again.mask)
    assert len(trials) >= 10 and trials.origin["dropped"] == []


def test_counts_of_chewie_are_those_of_the_source(shared):
    """The file was made from 81154 counted spikes in whole 100 ms bins: each must come back."""
    trials = read_nwb(shared("chewie_center_out.nwb"), bin_width=0.1, behavior=["hand_velocity", "hand_pos"])
    assert trials.counts.sum() == 81154 and len(trials) == 159
    assert np.array_equal(trials.behavior_mask, trials.mask.any(-1))  # a sample in every bin of every trial, none elsewhere


def test_no_spike_of_the_hippocampus_is_lost(shared):
    assert read_nwb(shared("hippocampus_linear_track.nwb"), bin_width=0.05, chunk=5.0).counts.sum() == 28829
