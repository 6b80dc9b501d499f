"""Trials: what they keep, what they refuse, and what a split or a selection may not change."""

import numpy as np
import pandas as pd
import pytest

from nwb_lowrank.trials import Trials, split_indices

B, T, N = 6, 5, 4


def make(**other):
    rng = np.random.default_rng(0)
    values = dict(
        counts=rng.poisson(1.0, (B, T, N)),
        bin_width=0.02,
        inputs=rng.normal(size=(B, T, 2)),
        behavior=rng.normal(size=(B, T, 1)),
        behavior_names=("speed",),
        behavior_units=("cm/s",),
        table=pd.DataFrame({"target": list("abcabc")}),
        starts=np.arange(B) * 10.0,
    )
    return Trials.from_arrays(**{**values, **other})


def test_nan_and_masked_entries_carry_no_information():
    counts = np.ones((2, 3, 2))
    counts[0, 1, 0] = np.nan
    trials = Trials.from_arrays(counts, bin_width=0.1, mask=np.array([True, False]))
    assert not trials.mask[0, 1, 0] and not trials.mask[..., 1].any()
    assert trials.mask.sum() == 5  # 2 trials x 3 bins of neuron 0, less the NaN
    assert (trials.counts[~trials.mask] == 0).all() and np.isfinite(trials.counts).all()


def test_seen_is_recorded_minus_held_out_minus_forecast():
    mask = np.ones((B, T, N), bool)
    mask[0, 3:] = False
    trials = make(mask=mask).hide([1]).forecast_last(2)
    expected = mask.copy()
    expected[:, :, 1] = False
    expected[:, -2:] = False
    np.testing.assert_array_equal(trials.seen, expected)
    np.testing.assert_array_equal(trials.mask, mask)  # asking for `seen` must not write into the mask
    np.testing.assert_array_equal(trials.lengths, [3] + [T] * (B - 1))


def test_lengths_of_a_trial_with_gaps_and_of_an_empty_one():
    mask = np.zeros((2, 6, 1), bool)
    mask[0, [1, 4]] = True
    trials = Trials.from_arrays(np.ones((2, 6, 1)), bin_width=1.0, mask=mask)
    np.testing.assert_array_equal(trials.lengths, [5, 0])


def test_times_are_bin_centres_on_the_session_clock():
    np.testing.assert_allclose(make().times[1], 10 + 0.02 * (np.arange(T) + 0.5), rtol=1e-12)


@pytest.mark.parametrize("index", [np.array([3, 0]), np.arange(B) % 2 == 0, slice(1, 4)])
def test_select_takes_every_part_of_the_same_trials(index):
    trials, chosen = make(), np.arange(B)[index]
    part = trials.select(index)
    for name in ("counts", "mask", "inputs", "behavior", "behavior_mask", "starts"):
        np.testing.assert_array_equal(getattr(part, name), getattr(trials, name)[chosen])
    assert list(part.table.target) == [list("abcabc")[i] for i in chosen]
    assert len(part) == len(chosen)


def test_split_is_a_partition_in_session_order_and_a_function_of_the_seed():
    for seed in range(3):
        parts = split_indices(20, (0.7, 0.2, 0.1), seed)
        assert [len(part) for part in parts] == [14, 4, 2]
        assert all((np.diff(part) > 0).all() for part in parts)
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(20))
        assert all(np.array_equal(a, b) for a, b in zip(parts, split_indices(20, (0.7, 0.2, 0.1), seed)))
    train, test = make().split((0.5, 0.5), seed=1)
    np.testing.assert_array_equal(np.sort(np.r_[train.starts, test.starts]), make().starts)


@pytest.mark.parametrize("size, fractions", [(6, (0.3, 0.3, 0.3, 0.05, 0.05)), (3, (0.4, 0.3, 0.3)), (2, (0.99, 0.01))])
def test_no_part_of_a_split_is_empty(size, fractions):
    parts = split_indices(size, fractions, 0)
    assert min(len(part) for part in parts) >= 1
    assert sum(len(part) for part in parts) == size


def test_is_counts():
    assert make().is_counts
    assert not make(counts=np.full((B, T, N), 0.5)).is_counts
    assert not make(counts=np.full((B, T, N), -1)).is_counts


def test_conditions_take_a_label_column_and_no_time_or_identity():
    table = pd.DataFrame({
        "go_time": [1.0, 2.0] * 8,
        "block_id": [0, 1] * 8,
        "reaction": np.linspace(0, 1, 16),
        "outcome": ["hit", "miss"] * 8,
        "target_dir": [0.0, 90.0, 180.0, 270.0] * 4,
    })  # fmt: skip
    trials = Trials.from_arrays(np.ones((16, 2, 1)), bin_width=1.0, table=table)
    assert trials.conditions()[1] == "target_dir"  # named after a condition: before `outcome`
    assert trials.conditions("outcome")[1] == "outcome"
    none = Trials.from_arrays(np.ones((16, 2, 1)), bin_width=1.0, table=table[["go_time", "block_id", "reaction"]])
    assert none.conditions() == (None, None)
    with pytest.raises(KeyError, match="no column 'cue'.*it has go_time, block_id"):
        trials.conditions("cue")


def test_arguments_are_neither_changed_nor_shared():
    counts, mask = np.ones((B, T, N), np.float32), np.ones((B, T, N), bool)
    mask[0, 0] = False
    trials = make(counts=counts, mask=mask)
    assert (counts == 1).all(), "the caller's array was written to"
    counts[:] = 7
    mask[:] = False
    assert trials.counts.max() == 1 and trials.mask.any(), "trials change with the caller's array"


@pytest.mark.parametrize(
    "bad, message",
    [
        (dict(counts=np.ones((T, N))), r"\(trial, bin, neuron\); got shape \(5, 4\). One trial\? Pass counts\[None\]"),
        (dict(counts=np.ones((0, T, N))), "at least one trial"),
        (dict(counts=np.full((B, T, N), np.inf)), "must be finite.*`mask`"),
        (dict(mask=np.ones((B, T + 1, N))), r"mask must broadcast to \(6, 5, 4\)"),
        (dict(inputs=np.ones((B, T))), r"inputs must be \(trial, bin, input\)"),
        (dict(inputs=np.full((B, T, 1), np.nan)), "inputs must be finite.*Fill or drop"),
        (dict(bin_width=0), "positive number of seconds"),
        (dict(bin_width=np.nan), "positive number of seconds"),
        (dict(forecast=T), "at least one shown bin of 5; got 5"),
        (dict(behavior=np.full((B, T, 1), np.nan)), "behavior_mask False in those bins"),
        (dict(behavior=np.ones((B, T))), r"behavior must be \(trial, bin, column\)"),
        (dict(table=pd.DataFrame({"a": [1]})), r"one row a trial \(6\); got 1 rows"),
        (dict(starts=[0.0]), r"starts must have shape \(6,\)"),
        (dict(unit_ids=np.arange(N + 1)), r"unit_ids must have shape \(4,\)"),
    ],
)
def test_refusals_name_the_mend(bad, message):
    with pytest.raises(ValueError, match=message):
        make(**bad)


def test_refused_splits_and_hiding():
    with pytest.raises(ValueError, match="add up to 1"):
        make().split((0.5, 0.4))
    with pytest.raises(ValueError, match="2 parts need at least 2 trials; got 1"):
        make().select([0]).split()
    with pytest.raises(ValueError, match="at least one neuron must stay shown"):
        make().hide(slice(None))


def test_unknown_behavior_is_stored_as_zero():
    behavior = np.ones((B, T, 1))
    behavior[0, 0] = np.nan
    known = np.ones((B, T), bool)
    known[0, 0] = False
    trials = make(behavior=behavior, behavior_mask=known)
    assert trials.behavior[0, 0, 0] == 0 and trials.behavior.sum() == B * T - 1
