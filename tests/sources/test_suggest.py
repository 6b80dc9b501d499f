"""The proposed options follow from the file, and say why."""

import numpy as np
import pytest

from nwb_lowrank.sources.inventory import inventory
from nwb_lowrank.sources.nwb import read_nwb
from nwb_lowrank.sources.suggest import suggest

STARTS = 1.0 + 2.0 * np.arange(20)


def spikes(neurons, rate, until=45.0, seed=0):
    random = np.random.default_rng(seed)
    return [np.sort(random.uniform(0, until, int(rate * until))) for _ in range(neurons)]


def trials(**columns):
    return dict(start_time=STARTS, stop_time=STARTS + 1.5, **columns)


def proposed(nwb):
    found = suggest(inventory(nwb))
    assert found["reasons"] and all(isinstance(reason, str) for reason in found["reasons"])
    return found["options"]


@pytest.mark.parametrize("rate, width", [(10.0, 0.02), (2.0, 0.05), (0.6, 0.1)])
def test_sparser_spikes_get_wider_bins(make_nwb, rate, width):
    assert proposed(make_nwb(spikes(5, rate), trials=trials()))["bin_width"] == width


def test_bins_are_no_finer_than_the_data(make_nwb):
    on_grid = [np.round(np.round(times / 0.04) * 0.04, 9) for times in spikes(6, 20.0)]
    width = proposed(make_nwb(on_grid, trials=trials()))["bin_width"]
    assert width == 0.04  # not the 20 ms that these rates alone would get


@pytest.mark.parametrize("neurons, rank", [(10, 3), (60, 4), (160, 5)])
def test_the_rank_grows_with_the_population(make_nwb, neurons, rank):
    assert proposed(make_nwb(spikes(neurons, 10.0), trials=trials()))["rank"] == rank


def test_little_data_gets_a_lower_rank(make_nwb):
    short = dict(start_time=[0.0, 5.0], stop_time=[3.2, 8.5])
    assert proposed(make_nwb(spikes(160, 10.0, until=8.5), trials=short))["rank"] == 2  # 425 bins of 20 ms


def test_an_onset_inside_the_trials_is_aligned_to(make_nwb):
    options = proposed(make_nwb(spikes(5, 10.0), trials=trials(move_onset_time=STARTS + 0.6)))
    assert options["align"] == "move_onset_time" and options["window"] == (-0.25, 0.45)


def test_an_onset_outside_the_trials_is_not(make_nwb):
    assert proposed(make_nwb(spikes(5, 10.0), trials=trials(move_onset_time=STARTS + 100)))["align"] is None


def test_no_table_or_a_short_one_is_cut_into_chunks_that_can_be_read(make_nwb):
    few = dict(start_time=[1.0, 20.0], stop_time=[15.0, 40.0])
    for tables in ({}, dict(trials=few)):
        nwb = make_nwb(spikes(5, 10.0), **tables)
        options = proposed(nwb)
        assert options["chunk"] and options["align"] is None and options["window"] is None
        assert len(read_nwb(nwb, bin_width=options["bin_width"], chunk=options["chunk"])) >= 10


def test_good_units_only_where_the_file_says_so(make_nwb):
    quality = ["good", "mua", "good", "good", "noise"]
    assert proposed(make_nwb(spikes(5, 10.0), columns=dict(quality=quality), trials=trials()))["units"] == "quality == 'good'"
    assert proposed(make_nwb(spikes(5, 10.0), columns=dict(quality=["good"] * 5), trials=trials()))["units"] is None


def test_a_velocity_goes_before_a_position_and_nan_before_neither(make_nwb):
    times = np.arange(0, 45, 0.01)
    values = np.sin(times)
    series = dict(hand_pos=(times, values, dict(unit="m")), hand_vel=(times, values, dict(unit="m/s")))
    assert proposed(make_nwb(spikes(5, 10.0), trials=trials(), behavior=series))["behavior"] == ["behavior/hand_vel"]
    series["hand_vel"] = (times, np.where(times < 20, np.nan, values), dict(unit="m/s"))
    assert proposed(make_nwb(spikes(5, 10.0), trials=trials(), behavior=series))["behavior"] == ["behavior/hand_pos"]


def test_calcium_is_taken_at_its_frame_rate_as_a_gaussian_signal(make_calcium):
    values = np.random.default_rng(0).normal(size=(900, 4))
    options = proposed(make_calcium({"traces": (values, dict(rate=30.0))}))
    assert options["signal"].endswith("traces") and options["bin_width"] is None and options["observation"] == "gaussian"


def test_a_file_without_activity_is_refused(make_nwb):
    with pytest.raises(ValueError, match="neither spike times nor ROI"):
        suggest(inventory(make_nwb(trials=trials())))
