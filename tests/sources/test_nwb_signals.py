"""Calcium traces into bins, and behaviour onto bin centres."""

import numpy as np
import pytest

from nwb_lowrank.sources._behavior import interpolate
from nwb_lowrank.sources.nwb import read_nwb

RATE = 30.0


def traces(frames=300, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, 4))


def test_frame_rate_keeps_every_frame_once(make_calcium, write):
    values = traces()
    path = write(make_calcium(dict(raw=(values, dict(rate=RATE, starting_time=2.0, conversion=2.0, offset=1.0)))))
    trials = read_nwb(path, chunk=1.0)
    assert trials.counts.shape == (10, 30, 4) and trials.mask.all()
    assert np.allclose(trials.counts.reshape(300, 4), values * 2 + 1, atol=1e-6)  # float32 of numbers near 1
    assert np.allclose(trials.times.ravel(), 2.0 + np.arange(300) / RATE)  # bins are centred on frames
    again = read_nwb(path, **trials.origin["cut"])
    assert np.array_equal(again.counts, trials.counts) and np.array_equal(again.starts, trials.starts)


def test_jittered_timestamps_keep_every_frame_once(make_calcium):
    times = np.arange(300) / RATE + np.random.default_rng(1).uniform(-0.002, 0.002, 300)
    trials = read_nwb(make_calcium(dict(raw=(traces(), dict(timestamps=times)))), chunk=1.0)
    assert trials.mask.all() and np.allclose(trials.counts.reshape(-1, 4)[:300], traces(), atol=1e-6)


def test_wider_bins_hold_means_of_their_frames(make_calcium):
    values = traces()
    values[7, 2] = np.nan
    values[30:33, 1] = np.nan
    trials = read_nwb(make_calcium(dict(raw=(values, dict(rate=RATE)))), bin_width=0.1, chunk=1.0)
    blocks = values.reshape(100, 3, 4)
    assert not trials.mask[1, 0, 1] and trials.mask.sum() == 399  # all three frames missing, nothing else
    blocks[10, :, 1] = 0  # masked entries are stored as 0
    expected = np.array([[np.mean(trace[np.isfinite(trace)]) for trace in block.T] for block in blocks])
    assert np.allclose(trials.counts.reshape(100, 4), expected, atol=1e-6)


def test_nan_frames_and_gaps_are_masked(make_calcium):
    values, times = traces(), np.arange(300) / RATE
    values[5, 3] = np.nan
    times[120:] += 5.0
    starts = np.array([0.0, 3.5, 9.0])
    nwb = make_calcium(dict(raw=(values, dict(timestamps=times))), trials=dict(start_time=starts, stop_time=starts + 2))
    trials = read_nwb(nwb)
    assert not trials.mask[0, 5, 3] and trials.mask[0].sum() == 60 * 4 - 1
    assert trials.mask[1, :15].all() and not trials.mask[1, 15:].any()  # frames 105 to 119, then the gap
    assert trials.mask[2].all()
    chunks = read_nwb(nwb, chunk=1.0)
    assert chunks.lengths.tolist() == [30] * 10 and chunks.mask.sum() == 300 * 4 - 1
    wide = read_nwb(nwb, bin_width=0.2, chunk=1.0)
    assert wide.mask.all() and len(wide) == 10


def test_columns_are_named_by_their_rows_in_the_roi_table(make_calcium):
    values = traces()[:, :3]
    nwb = make_calcium(dict(raw=(values, dict(rate=RATE))), rois=[3, 1, 0], roi_ids=[10, 20, 30, 40])
    assert read_nwb(nwb, chunk=1.0).unit_ids.tolist() == [40, 20, 10]
    cells = read_nwb(nwb, chunk=1.0, units="iscell")
    assert cells.unit_ids.tolist() == [40, 10]
    assert np.allclose(cells.counts.reshape(300, 2), values[:, [0, 2]], atol=1e-6)


def test_one_of_two_series_must_be_named(make_calcium):
    nwb = make_calcium(dict(raw=(traces(), dict(rate=RATE)), dff=(traces(seed=5), dict(rate=RATE))))
    with pytest.raises(ValueError, match="pass signal= one of ophys/Fluorescence/dff, ophys/Fluorescence/raw"):
        read_nwb(nwb, chunk=1.0)
    named = read_nwb(nwb, chunk=1.0, signal="dff")
    assert np.allclose(named.counts.reshape(300, 4), traces(seed=5), atol=1e-6)
    rounded = read_nwb(nwb, chunk=1.0, signal="dff", bin_width=0.03333)
    assert rounded.bin_width == pytest.approx(1 / RATE, rel=1e-12) and np.array_equal(rounded.counts, named.counts)
    with pytest.raises(ValueError, match="shorter than a frame"):
        read_nwb(nwb, chunk=1.0, signal="dff", bin_width=0.01)


def test_interpolation_of_a_line_is_exact_with_duplicates_and_disorder():
    rng = np.random.default_rng(0)
    times = np.r_[np.arange(0, 5, 0.1), 2.0, 2.0]
    order = rng.permutation(len(times))
    at = rng.uniform(0, 4.9, (3, 7))
    values, near = interpolate(times[order], (3 * times - 1)[order, None], at)
    assert near.all() and np.allclose(values[..., 0], 3 * at - 1, atol=1e-12)


def behaving(make_nwb, times, values, **options):
    spikes = [np.arange(0.05, 10, 0.1)] * 2
    trials = dict(start_time=[0.0, 5.0], stop_time=[3.0, 8.0])
    return make_nwb(spikes, trials=trials, behavior=dict(hand=(times, values, dict(unit="cm") | options)))


def test_behaviour_is_in_its_units_at_bin_centres(make_nwb):
    times = np.arange(0, 10, 0.02)
    nwb = behaving(make_nwb, times, np.column_stack([times, -times]), conversion=2.0, offset=0.5)
    trials = read_nwb(nwb, bin_width=0.1, behavior="hand")
    assert np.allclose(trials.behavior[..., 0], 2 * trials.times + 0.5)
    assert np.allclose(trials.behavior[..., 1], 0.5 - 2 * trials.times)
    assert trials.behavior_names == ("hand_0", "hand_1") and trials.behavior_units == ("cm", "cm")
    assert trials.behavior_mask.all()


def test_behaviour_is_unknown_far_from_samples(make_nwb):
    times = np.arange(0, 10, 0.02)
    times = times[(times < 1) | (times > 2)]
    trials = read_nwb(behaving(make_nwb, times, times), bin_width=0.1, behavior=["behavior/hand"])
    assert np.array_equal(trials.behavior_mask[0], (trials.times[0] < 1) | (trials.times[0] > 2))
    assert (trials.behavior[~trials.behavior_mask] == 0).all() and trials.behavior_mask[1].all()


def test_nan_in_behaviour_is_refused_or_masked_but_only_inside_the_trials(make_nwb):
    times = np.arange(0, 10, 0.02)
    outside = np.where((times > 3.5) & (times < 4.5), np.nan, times)
    assert read_nwb(behaving(make_nwb, times, outside), bin_width=0.1, behavior="hand").behavior_mask.all()
    inside = np.where((times > 1.01) & (times < 1.19), np.nan, times)
    with pytest.raises(ValueError, match="'behavior/hand' is NaN in 2 bins.*mask_nan_behavior=True"):
        read_nwb(behaving(make_nwb, times, inside), bin_width=0.1, behavior="hand")
    masked = read_nwb(behaving(make_nwb, times, inside), bin_width=0.1, behavior="hand", mask_nan_behavior=True)
    assert np.flatnonzero(~masked.behavior_mask[0]).tolist() == [10, 11] and masked.mask.all()
    with pytest.raises(ValueError, match="no samples in the trials"):
        read_nwb(behaving(make_nwb, times + 100, times), bin_width=0.1, behavior="hand")
