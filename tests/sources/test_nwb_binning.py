"""Spikes into bins: against integer arithmetic, and against a loop that nobody could get wrong."""

import numpy as np
import pandas as pd
import pytest

from nwb_lowrank.sources._windows import Grid, Windows, chunk_windows, covered, merge
from nwb_lowrank.sources.nwb import read_nwb


def naive_counts(spikes, starts, bins, width):
    """Bins of every trial and unit, one spike at a time; edges are compared in units of a bin, to a millionth."""
    counts = np.zeros((len(starts), bins, len(spikes)))
    for trial, start in enumerate(starts):
        for unit, times in enumerate(spikes):
            for time in times:
                position = round((time - start) / width, 6)
                if np.isfinite(time) and 0 <= position < bins:
                    counts[trial, int(position), unit] += 1
    return counts


@pytest.mark.parametrize("width_ticks", [1, 3, 7, 50, 200])
def test_edges_are_those_of_integer_arithmetic(make_nwb, width_ticks):
    """Spikes and events sit at whole 0.1 ms, so the right bin is an integer division."""
    rng = np.random.default_rng(0)
    ticks = [np.sort(rng.integers(0, 100_000, 4000)) for _ in range(3)]
    events = rng.integers(5000, 90_000, 20)
    bins = 40
    nwb = make_nwb([t * 1e-4 for t in ticks], trials=dict(start_time=events * 1e-4, stop_time=(events + 9000) * 1e-4))
    window = (-2 * width_ticks * 1e-4, (bins - 2) * width_ticks * 1e-4)
    trials = read_nwb(nwb, bin_width=width_ticks * 1e-4, window=window)
    expected = np.zeros((20, bins, 3))
    for trial, event in enumerate(events):
        for unit, times in enumerate(ticks):
            index = (times - (event - 2 * width_ticks)) // width_ticks
            np.add.at(expected[trial, :, unit], index[(index >= 0) & (index < bins)], 1)
    assert trials.counts.shape == expected.shape
    assert np.array_equal(trials.counts, expected)


def test_equals_the_naive_loop_with_overlapping_windows_and_unclean_spikes(make_nwb):
    rng = np.random.default_rng(1)
    spikes = [rng.uniform(-2, 12, size) for size in (300, 0, 500, 1)]  # unsorted, negative, silent
    spikes[0][::7] = np.nan
    spikes[2][3] = np.inf
    starts = np.array([0.0, 0.31, 0.62, 5.0, 4.0])  # overlapping and out of order
    nwb = make_nwb(spikes, ids=[40, 7, 8, 2], trials=dict(start_time=starts, stop_time=starts + 3))
    trials = read_nwb(nwb, bin_width=0.03, window=(-0.5, 1.0))
    assert trials.mask.all()  # negative spikes say that the recording began before 0
    assert np.array_equal(trials.counts, naive_counts(spikes, starts - 0.5, 50, 0.03))
    assert trials.unit_ids.tolist() == [40, 7, 8, 2]
    assert trials.origin["spikes_not_finite"] == 44


def test_trials_of_different_length_are_padded_and_masked(make_nwb):
    spikes = [np.arange(0.05, 10, 0.1), np.arange(0.05, 10, 0.2)]
    nwb = make_nwb(spikes, trials=dict(start_time=[0.0, 2.0, 5.0], stop_time=[0.3, 3.25, 5.05]))
    trials = read_nwb(nwb, bin_width=0.1)
    assert trials.lengths.tolist() == [3, 12]  # 0.25 of a bin at the end of the second is not whole
    assert trials.counts[:, :, 0].sum(1).tolist() == [3, 12]
    assert trials.origin["dropped"] == [{"trial": 2, "reason": "shorter than one bin"}]


@pytest.mark.parametrize("width,chunk", [(0.1, 1.0), (0.07, 0.5), (0.033, None)])
def test_chunks_lose_no_spike(make_nwb, width, chunk):
    rng = np.random.default_rng(2)
    spikes = [np.sort(rng.uniform(0, 20.3, 100)), np.sort(rng.uniform(0, 19, 200))]
    trials = read_nwb(make_nwb(spikes), bin_width=width, chunk=chunk)
    assert trials.counts.sum((0, 1)).tolist() == [100, 200]
    steps = np.diff(trials.starts)
    assert np.allclose(steps, trials.bins * width, atol=1e-9)  # no chunk overlaps or leaves a gap
    last = max(times[-1] for times in spikes)
    assert trials.mask[..., 0].sum() == int(last // width) + 1  # up to the bin of the last spike, and no further


def test_chunks_start_anew_in_every_observed_stretch(make_nwb):
    spikes = [[0.05, 0.95, 5.05, 6.45], [0.15, 5.15]]
    trials = read_nwb(make_nwb(spikes, obs=[[[0, 1], [5, 6.5]]] * 2), bin_width=0.1, chunk=0.8)
    assert np.allclose(trials.starts, [0, 0.8, 5, 5.8])
    assert trials.lengths.tolist() == [8, 2, 8, 7]
    assert trials.counts.sum() == 6


def test_a_clock_that_counts_from_elsewhere_does_not_fill_the_past_with_chunks(make_nwb):
    trials = read_nwb(make_nwb([1e9 + np.arange(50.0), 1e9 + np.arange(50.0)]), bin_width=0.5, chunk=5.0)
    assert trials.starts[0] == 1e9 and len(trials) == 10


def test_each_unit_is_masked_where_it_was_not_observed(make_nwb):
    obs = [[[0, 2], [3, 10]], [[0, 10]], [[0, 1], [0.9, 2.5], [2.5, 10]]]  # touching intervals leave no hole
    nwb = make_nwb([np.arange(0.05, 10, 0.1)] * 3, obs=obs, trials=dict(start_time=[1.0, 4.0], stop_time=[3.5, 6.5]))
    trials = read_nwb(nwb, bin_width=0.3)
    edges = 1.0 + 0.3 * np.arange(9)
    unseen = (edges[1:] > 2.0 + 1e-9) & (edges[:-1] < 3.0 - 1e-9)  # any part inside (2, 3)
    assert np.array_equal(trials.mask[0, :, 0], ~unseen)
    assert trials.mask[:, :, 1:].all() and trials.mask[1].all()
    assert (trials.counts[0, unseen, 0] == 0).all()


def test_covered_agrees_with_a_loop_over_bins():
    rng = np.random.default_rng(3)
    intervals = np.sort(rng.uniform(0, 10, (12, 2)), axis=1)
    windows = Windows(rng.uniform(-1, 9, 30), rng.integers(1, 20, 30), 0.05, None)
    expected = np.zeros((30, windows.bins), bool)
    fine = merge(intervals, 0.0)
    for row in range(30):
        for k in range(windows.lengths[row]):
            left = windows.starts[row] + k * 0.05
            expected[row, k] = any(a <= left and left + 0.05 <= b for a, b in fine)
    assert np.array_equal(covered(windows, intervals, 1e-12), expected)


def test_vector_index_of_one_byte_does_not_overflow(make_nwb, write):
    """200 spikes in 10 units: written as uint8 or uint16, whose differences and sums would wrap."""
    spikes = [np.linspace(0.01, 9.99, 20 + unit) for unit in range(10)]
    trials = read_nwb(write(make_nwb(spikes)), bin_width=0.1, chunk=2.0)
    assert trials.counts.sum((0, 1)).tolist() == [20 + unit for unit in range(10)]


@pytest.mark.parametrize("kind", ["tiled", "with gaps", "overlapping", "unsorted"])
def test_every_way_of_windows_counts_as_the_formula_says(kind):
    """Against floor(round((t - start) / width, 6)), window by window, with times on edges and within rounding of them."""
    rng = np.random.default_rng(len(kind))
    for width in (0.005, 0.02, 1 / 30, 0.1):
        if kind in ("tiled", "with gaps"):
            windows = chunk_windows(np.array([[-0.3, 5.0], [5.0 if kind == "tiled" else 5.7, 8.05]]), width, 0.5)
        else:
            starts = rng.uniform(0, 8, 20)
            table = pd.DataFrame(dict(trial_id=np.arange(20)))
            windows = Windows(np.sort(starts) if kind == "overlapping" else starts, rng.integers(1, 60, 20), width, table)
        grid = np.round(rng.uniform(0, 9, 500) / width) * width
        near = windows.stops + rng.choice([1e-7, -1e-7, 4e-9], len(windows.stops)) * width
        times = np.sort(np.concatenate([rng.uniform(-1, 10, 500), grid, np.nextafter(grid, 9), windows.starts, windows.stops, near]))
        counts = np.bincount(Grid(windows).cells(times)[0], minlength=len(windows.starts) * windows.bins)
        for start, length, row in zip(windows.starts, windows.lengths, counts.reshape(-1, windows.bins)):
            bins = np.floor(np.round((times - start) / width, 6)).astype(int)
            assert np.array_equal(row, np.bincount(bins[(bins >= 0) & (bins < length)], minlength=windows.bins))


@pytest.mark.parametrize("first", [0.0, -3.7, 12345.678, 1.6e9])
@pytest.mark.parametrize("width", [0.001, 0.005, 1 / 30, 0.1, 2.0**-7])
def test_one_row_of_bins_is_cut_to_the_last_spike_as_each_window_would(first, width):
    """Times on edges, a few millionths of a bin beside them, and anywhere, also outside."""
    rng = np.random.default_rng(5)
    windows = chunk_windows(np.array([[first, first + 777.4 * width]]), width, 100 * width)
    edges = first + rng.integers(-3, 782, 3000) * width
    beside = edges + rng.choice([-2e-5, -1e-5, -6e-7, -5.1e-7, -4.9e-7, -1e-9, 0, 1e-9, 1e-6, 1e-5, 2e-5], 3000) * width
    times = np.sort(np.concatenate([edges, beside, rng.uniform(first - width, first + 779 * width, 3000), windows.starts, windows.stops]))
    counts = np.zeros((len(windows.starts), windows.bins), int)
    for row, (start, length) in enumerate(zip(windows.starts, windows.lengths)):
        bins = np.floor(np.round((times - start) / width, 6)).astype(int)
        np.add.at(counts[row], bins[(bins >= 0) & (bins < length)], 1)
    assert np.array_equal(np.bincount(Grid(windows).cells(times)[0], minlength=counts.size).reshape(counts.shape), counts)
