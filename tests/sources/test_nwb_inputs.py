"""Known inputs: cue steps and pulses, one-hot labels, numbers, behaviour series; the file gives the same again."""

import numpy as np
import pytest

from nwb_lowrank.sources.nwb import read_nwb

EVERY = np.arange(0.05, 20, 0.1)
STARTS = np.arange(0.0, 18, 2)


def session(make_nwb):
    cue = np.where(STARTS == 4, np.nan, STARTS + 0.5)
    trials = dict(start_time=STARTS, stop_time=STARTS + 1.5, cue=cue, side=["left", "right", "left"] * 3, contrast=STARTS / 20)
    return make_nwb([EVERY, EVERY[::2]], trials=trials, behavior=dict(hand=(EVERY, 3 + 2 * EVERY, dict(unit="m"))))


def inputs(make_nwb, *names, **other):
    return read_nwb(session(make_nwb), bin_width=0.1, inputs=list(names), **other)


def test_an_event_is_a_step_from_its_bin_on_and_a_missing_one_nothing(make_nwb):
    trials = inputs(make_nwb, "cue", "cue:pulse")
    step, pulse = np.moveaxis(trials.inputs, -1, 0)
    expected = np.repeat((np.arange(15) >= 5)[None], 9, 0)
    expected[2] = False
    np.testing.assert_array_equal(step, expected)
    np.testing.assert_array_equal(pulse, expected & (np.arange(15) == 5))
    assert trials.input_names == ("cue", "cue:pulse")


def test_an_event_before_the_window_is_a_step_that_has_happened(make_nwb):
    trials = inputs(make_nwb, "cue", align="start_time", window=(1.0, 1.5))
    assert (trials.inputs[[0, 1, 3]] == 1).all() and (trials.inputs[2] == 0).all()


def test_labels_are_one_hot_and_numbers_are_numbers(make_nwb):
    trials = inputs(make_nwb, "side", "contrast:value")
    assert trials.input_names == ("side=left", "side=right", "contrast")
    left = np.array([True, False, True] * 3)
    np.testing.assert_array_equal(trials.inputs[..., 0], np.repeat(left[:, None], 15, 1))
    np.testing.assert_array_equal(trials.inputs[..., :2].sum(-1), 1)
    np.testing.assert_allclose(trials.inputs[..., 2], np.repeat(STARTS[:, None] / 20, 15, 1), rtol=1e-6)  # float32


def test_a_series_is_standardised_at_the_bin_centres(make_nwb):
    trials = inputs(make_nwb, "hand")
    assert trials.inputs.mean() == pytest.approx(0, abs=1e-6) and trials.inputs.std() == pytest.approx(1, abs=1e-6)
    slope = np.polyfit(trials.times.ravel(), trials.inputs.ravel(), 1)
    np.testing.assert_allclose(np.polyval(slope, trials.times), trials.inputs[..., 0], atol=1e-5)


def test_the_origin_cuts_the_same_inputs_again(make_nwb):
    trials = inputs(make_nwb, "cue", "side", "hand", trials="contrast < 0.7")
    again = read_nwb(session(make_nwb), **trials.origin["cut"])
    np.testing.assert_array_equal(again.inputs, trials.inputs)
    assert trials.origin["cut"]["inputs"] == ["cue:step", "side:onehot", "behavior/hand"]
    assert trials.select([0, 2]).inputs.shape[0] == 2 and trials.select([0, 2]).input_names == trials.input_names


@pytest.mark.parametrize("name, error, match", [
    ("nothing", KeyError, "no column and no behaviour series 'nothing'; there are .*cue.*behavior/hand. Pass one of these"),
    ("side:step", ValueError, "column 'side' holds no times. Pass 'side:onehot'"),
    ("side:value", ValueError, "'side' must hold a number in every trial. Pass 'side:onehot'"),
])  # fmt: skip
def test_one_sentence_for_what_is_wrong(make_nwb, name, error, match):
    with pytest.raises(error, match=match):
        inputs(make_nwb, name)


def test_labels_are_not_taken_for_times(make_nwb):
    with pytest.raises(ValueError, match="times of column 'contrast' lie far from their trials. Pass 'contrast:onehot'"):
        inputs(make_nwb, "contrast:pulse", trials="contrast > 0.5")


def test_real_files(shared):
    """The go cue of the maze, the reach directions of centre-out, the stimulus categories of a human session."""
    maze = read_nwb(shared("mc_maze_two_trials.nwb"), bin_width=0.02, inputs="move_onset_time")
    onset = maze.table["move_onset_time"].to_numpy() - maze.starts
    np.testing.assert_array_equal(maze.inputs[..., 0].argmax(1), np.floor(np.round(onset / 0.02, 6)))
    reach = read_nwb(shared("chewie_center_out.nwb"), bin_width=0.1, inputs=["reach_direction", "hand_velocity"])
    assert reach.inputs.shape[-1] == 10
    np.testing.assert_array_equal(reach.inputs[:, 0, :8].argmax(-1), reach.table["reach_direction"])
    human = read_nwb(shared("human_mtl_dandi000207.nwb"), bin_width=0.1, table="encoding_table", inputs=["boundary1_time", "stimCategory"])
    assert human.input_names == ("boundary1_time", "stimCategory=0", "stimCategory=1", "stimCategory=2")
