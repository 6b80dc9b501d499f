"""Units and tables as pipelines really write them: derived columns, events, bytes, no electrodes, broken indices."""

import h5py
import numpy as np
import pytest
from pynwb import NWBHDF5IO, TimeSeries
from pynwb.event import EventsTable

from nwb_lowrank.sources._spikes import Spikes
from nwb_lowrank.sources._windows import Windows
from nwb_lowrank.sources.inventory import inventory
from nwb_lowrank.sources.nwb import read_nwb

EVERY = np.arange(0.05, 20, 0.1)


def test_isi_violations_and_presence_are_shares(make_nwb):
    """Bursts of two 1 ms apart: every second interval is a violation. A unit that falls silent half-way is present for half."""
    bursts = np.sort(np.r_[EVERY, EVERY + 0.001])
    half = EVERY[EVERY < 10]
    nwb = make_nwb([bursts, EVERY, half, [3.0]], obs=[[[0, 20]]] * 4)
    units = inventory(nwb).units
    assert units["isi_violation"].tolist() == pytest.approx([len(EVERY) / (2 * len(EVERY) - 1), 0, 0, 0])
    assert units["presence"].tolist() == pytest.approx([1, 1, 0.5, 0.01])
    assert read_nwb(nwb, bin_width=0.1, units="isi_violation < 0.1 and presence >= 0.5").unit_ids.tolist() == [1, 2]


def test_presence_counts_observed_time_only(make_nwb):
    """Spikes fill both stretches; the hole between them is nobody's fault, and spikes in it do not count."""
    inside = EVERY[(EVERY < 2) | (EVERY > 18)]
    nwb = make_nwb([inside, EVERY], obs=[[[0, 2], [18, 20]], [[0, 2], [18, 20]]])
    units = inventory(nwb).units
    assert units["presence"].tolist() == pytest.approx([0.4, 0.4])  # 40 spikes, each in a part of its own
    assert units["rate"].tolist() == pytest.approx([10, 10])


def test_a_column_of_the_file_with_a_derived_name_is_kept_under_another(make_nwb):
    nwb = make_nwb([EVERY, EVERY[::2], EVERY], columns=dict(rate=["high", "low", "high"], presence=[0.2, 0.3, 0.1]))
    units = inventory(nwb).units
    assert units["rate_in_file"].tolist() == ["high", "low", "high"] and units["rate"].iloc[0] == pytest.approx(10, rel=0.01)
    assert read_nwb(nwb, bin_width=0.1, units="rate_in_file == 'high'").unit_ids.tolist() == [0, 2]
    assert read_nwb(nwb, bin_width=0.1, units="presence_in_file > 0.15 and presence > 0.9").unit_ids.tolist() == [0, 1]


def events(nwb, durations):
    table = EventsTable(name="stimuli", description="flashes")
    for row, time in enumerate((1.0, 4.0, 9.0, 30.0)):
        table.add_event(timestamp=time, annotation=f"n{row}", **({} if durations is None else {"duration": durations[row]}))
    nwb.add_events_table(table) if hasattr(nwb, "add_events_table") else nwb.create_processing_module("events", "events").add(table)
    return nwb


def test_events_are_trials(make_nwb, write):
    path = write(events(make_nwb([EVERY, EVERY], obs=[[[0, 20]]] * 2), [0.5, 1.0, np.nan, 0.5]))
    whole = read_nwb(path, bin_width=0.1, table="stimuli")
    assert whole.starts.tolist() == [1.0, 4.0] and whole.lengths.tolist() == [5, 10]
    assert whole.origin["dropped"] == [{"trial": 2, "reason": "stop_time is NaN"}, {"trial": 3, "reason": "outside the recording"}]
    around = read_nwb(path, bin_width=0.1, table="stimuli", align="timestamp", window=(-0.5, 0.5), trials="annotation != 'n1'")
    assert np.allclose(around.starts, [0.5, 8.5]) and around.table["annotation"].tolist() == ["n0", "n2"]
    again = read_nwb(path, **around.origin["cut"])
    assert np.array_equal(again.counts, around.counts)
    assert "stimuli" in inventory(path).tables


def test_events_without_durations_ask_for_a_window(make_nwb):
    nwb = events(make_nwb([EVERY, EVERY]), None)
    with pytest.raises(ValueError, match="stop_time is NaN.*window="):
        read_nwb(nwb, bin_width=0.1, table="stimuli")
    assert len(read_nwb(nwb, bin_width=0.1, table="stimuli", window=(0, 1))) == 3  # the last lies after the last spike


def test_text_written_as_bytes_is_text(make_nwb, write):
    path = write(make_nwb([EVERY] * 3, columns=dict(quality=["good", "mua", "good"]), trials=dict(start_time=[1.0, 5], stop_time=[2.0, 6])))
    with h5py.File(path, "r+") as file:
        for name in ("units/quality",):
            attributes, values = dict(file[name].attrs), [v.encode() for v in file[name].asstr()[:]]
            del file[name]
            file.create_dataset(name, data=np.array(values, dtype="S8"))
            file[name].attrs.update(attributes)
    assert read_nwb(path, bin_width=0.1, units="quality == 'good'").unit_ids.tolist() == [0, 2]


def test_units_without_electrodes_have_no_area(make_nwb, write):
    nwb = make_nwb([], electrodes=["CA1", "CA3"])
    for row, electrodes in enumerate(([0], [], [1, 0, 1])):
        nwb.add_unit(spike_times=EVERY, electrodes=electrodes, id=7 * row)
    path = write(nwb)
    assert inventory(path).units["location"].tolist() == ["CA1", "", "CA3, CA1"]
    assert read_nwb(path, bin_width=0.1, units="location.str.contains('CA1')").unit_ids.tolist() == [0, 14]


@pytest.mark.parametrize("ends", [[400, 200, 600], [200, 400, 650], [200, 400, 590], [200, 400, 600]])
def test_a_broken_index_is_refused_because_it_would_count_wrong(make_nwb, write, ends):
    path = write(make_nwb([EVERY] * 3))
    with h5py.File(path, "r+") as file:
        attributes = dict(file["units/spike_times_index"].attrs)
        del file["units/spike_times_index"]
        file["units/spike_times_index"] = np.array(ends, np.uint16)
        file["units/spike_times_index"].attrs.update(attributes)
    if ends == [200, 400, 600]:
        assert read_nwb(path, bin_width=0.1).counts.sum() == 600
    else:
        with pytest.raises(ValueError, match="read_nwb: 'spike_times_index' of the units must rise to the number of values, 600"):
            read_nwb(path, bin_width=0.1)


def test_every_counted_spike_is_in_the_report_and_none_outside_what_was_observed():
    """Windows overlap, one unit is observed for a part of them: the report is the sum of the counts."""
    random = np.random.default_rng(0)
    times = tuple(np.sort(random.uniform(0, 10, 5000)) for _ in range(2))
    observed = (np.array([[0.0, 10.0]]), np.array([[2.0, 3.0]]))
    windows = Windows(np.array([1.0, 1.5, 4.0]), np.array([100, 100, 100]), 0.01, make_frame(3))
    counts, mask, facts = Spikes(make_frame(2), times, observed, (0.0, 10.0)).cut(windows)
    assert facts["spikes_counted"] == counts.sum() and facts["spikes_of_units"] == 10_000
    assert (counts[~mask] == 0).all() and mask[..., 1].sum() == 50 and mask[..., 0].all()


def make_frame(rows):
    import pandas as pd

    return pd.DataFrame(index=pd.RangeIndex(rows, name="id"))


def test_any_series_beside_the_units_may_be_behaviour(make_nwb, write):
    """Acquisition, stimulus and processing; rate and timestamps; conversion and offset."""
    nwb = make_nwb([EVERY, EVERY], trials=dict(start_time=[1.0, 5.0], stop_time=[2.0, 6.0]))
    nwb.add_acquisition(
        TimeSeries(name="speed", data=np.arange(0, 200), unit="m/s", rate=10.0, starting_time=0.5, conversion=0.5, offset=1.0)
    )
    nwb.add_stimulus(TimeSeries(name="light", data=np.arange(0, 20.0)[:, None], unit="lux", timestamps=np.arange(0, 20.0)))
    trials = read_nwb(write(nwb), bin_width=0.1, behavior=["acquisition/speed", "light"])
    assert trials.behavior_names == ("speed", "light") and trials.behavior_units == ("m/s", "lux")
    assert np.allclose(trials.behavior[..., 0], (trials.times - 0.5) * 10 * 0.5 + 1.0)
    assert np.allclose(trials.behavior[..., 1], trials.times)


def test_a_series_whose_times_do_not_fit_is_refused(make_nwb, write):
    times = np.arange(0, 20, 0.1)
    path = write(make_nwb([EVERY, EVERY], behavior=dict(hand=(times, times, dict(unit="m")))))
    with h5py.File(path, "r+") as file:
        attributes = dict(file["processing/behavior/hand/timestamps"].attrs)
        del file["processing/behavior/hand/timestamps"]
        file["processing/behavior/hand/timestamps"] = times[:-3]
        file["processing/behavior/hand/timestamps"].attrs.update(attributes)
    with pytest.raises(ValueError, match="'behavior/hand' has 200 samples but 197 timestamps"):
        read_nwb(path, bin_width=0.1, behavior="hand")


def test_means_of_behaviour_over_bins(make_nwb):
    """100 Hz samples of a parabola: bins of 0.1 s hold the means of their ten samples; bins without any are unknown."""
    times = np.round(np.arange(0, 20, 0.01), 9)
    gap = (times >= 1.2) & (times < 1.4)
    series = dict(hand=(times[~gap], times[~gap] ** 2, dict(unit="m")), slow=(times[::50], times[::50], dict(unit="m")))
    nwb = make_nwb([EVERY, EVERY], trials=dict(start_time=[1.0, 5.0], stop_time=[2.0, 6.0]), behavior=series)
    trials = read_nwb(nwb, bin_width=0.1, behavior="hand", average_behavior=True)
    expected = (times**2).reshape(-1, 10).mean(1)
    assert np.flatnonzero(~trials.behavior_mask[0]).tolist() == [2, 3] and trials.behavior_mask[1].all()
    assert np.allclose(trials.behavior[1, :, 0], expected[50:60], atol=1e-12)
    assert trials.origin["cut"]["average_behavior"] is True
    with pytest.raises(ValueError, match="sampled every 0.5 s, and bins last 0.1 s"):
        read_nwb(nwb, bin_width=0.1, behavior="slow", average_behavior=True)


def test_an_open_file_keeps_its_numbers(make_nwb):
    """Conversion is applied to a copy."""
    times = np.arange(0, 20, 0.1)
    nwb = make_nwb([EVERY, EVERY], behavior=dict(hand=(times, times, dict(unit="m", conversion=3.0))))
    for _ in range(2):
        read_nwb(nwb, bin_width=0.1, behavior="hand")
    assert np.array_equal(nwb.processing["behavior"]["hand"].data[:], times)


def test_a_file_that_nobody_else_reads_is_closed_after_an_error(make_nwb, write):
    path = write(make_nwb([EVERY]))
    with pytest.raises(ValueError, match="at least 2 neurons"):
        read_nwb(path, bin_width=0.1)
    with NWBHDF5IO(path, "r+"):
        pass
