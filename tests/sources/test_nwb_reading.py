"""read_nwb: sources, tables, queries, origin, and one sentence for everything that can be wrong."""

import io
import json
import warnings
from datetime import datetime, timezone

import h5py
import numpy as np
import pytest
from pynwb import NWBHDF5IO, TimeSeries
from pynwb.epoch import TimeIntervals

from nwb_lowrank.sources.nwb import read_nwb

EVERY = np.arange(0.05, 20, 0.1)


def session(make_nwb, **other):
    starts = np.arange(0.0, 18, 2)
    cue = np.where(starts == 4, np.nan, starts + 0.5)
    trials = dict(start_time=starts, stop_time=starts + 1.5, cue=cue, side=["left", "right", "left"] * 3)
    settings = dict(
        columns=dict(quality=["good", "mua", "good"], heldout=[False, True, False]), ids=[11, 5, 30],
        electrodes=["M1", "PMd", "M1"], trials=trials, tables=dict(sleep=dict(start_time=[0.0, 6.0], stop_time=[5.0, 9.0])),
        behavior=dict(hand=(EVERY, np.column_stack([EVERY, 2 * EVERY]), dict(unit="m", conversion=10.0))),
    )  # fmt: skip
    return make_nwb([EVERY, EVERY[::2], EVERY[::5]], **(settings | other))


def same(one, two):
    assert np.array_equal(one.counts, two.counts) and np.array_equal(one.mask, two.mask)
    assert np.array_equal(one.starts, two.starts) and np.array_equal(one.unit_ids, two.unit_ids)
    assert np.array_equal(one.held_out, two.held_out) and one.table.equals(two.table)
    assert (one.behavior is None and two.behavior is None) or np.array_equal(one.behavior, two.behavior)


def test_path_text_bytes_and_open_file_give_the_same_trials(make_nwb, write):
    path = write(session(make_nwb))
    how = dict(bin_width=0.1, align="cue", window=(-0.2, 0.5), behavior="hand")
    first = read_nwb(path, **how)
    same(first, read_nwb(str(path), **how))
    with open(path, "rb") as stream:
        same(first, read_nwb(stream, **how))
    memory = read_nwb(io.BytesIO(path.read_bytes()), **how)
    same(first, memory)
    assert first.origin["sha256"] and memory.origin["sha256"] is None and memory.origin["path"] is None
    with NWBHDF5IO(path, "r") as opened:
        nwb = opened.read()
        same(first, read_nwb(nwb, **how))
        assert nwb.units["spike_times"].target.data[:].size  # a file that was open stays open
    same(first, read_nwb(session(make_nwb), **how))  # never written


def test_the_file_is_closed_again_and_nothing_is_warned(make_nwb, write):
    path = write(session(make_nwb))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_nwb(path, bin_width=0.1)
    with h5py.File(path, "r+"):  # refused while anyone reads
        pass


def test_table_keeps_its_columns_and_nan_events_are_reported(make_nwb, write):
    trials = read_nwb(write(session(make_nwb)), bin_width=0.1, align="cue", window=(-0.2, 0.5))
    assert trials.origin["dropped"] == [{"trial": 2, "reason": "cue is NaN"}]
    assert {"trial_id", "start_time", "stop_time", "cue", "side"} <= set(trials.table)
    sides = ["left", "right", "left"] * 3
    assert trials.table["side"].tolist() == sides[:2] + sides[3:]
    assert trials.table["trial_id"].tolist() == [0, 1, 3, 4, 5, 6, 7, 8]
    assert np.allclose(trials.starts, trials.table["cue"] - 0.2)
    assert trials.held_out.tolist() == [False, True, False] and trials.bins == 7


def test_window_outside_the_recording_is_dropped_and_reported(make_nwb):
    spikes = [np.array([0.5, 2.5, 4.5])] * 2
    nwb = make_nwb(spikes, obs=[[[0, 5]]] * 2, trials=dict(start_time=[0, 2, 30.0], stop_time=[1, 3, 31.0]))
    trials = read_nwb(nwb, bin_width=0.25)
    assert trials.origin["dropped"] == [{"trial": 2, "reason": "outside the recording"}] and len(trials) == 2


@pytest.mark.parametrize(
    "query,ids",
    [
        ("quality == 'good'", [11, 30]),
        ("rate > 4.9", [11, 5]),
        ("location == 'M1' and n_spikes > 1", [11, 30]),
        ("id in [5, 30]", [5, 30]),
        ("`quality` != 'mua'", [11, 30]),
        ("quality.str.startswith('g') or id == 5", [11, 5, 30]),
    ],
)
def test_units_by_query(make_nwb, write, query, ids):
    trials = read_nwb(write(session(make_nwb)), bin_width=0.1, units=query)
    assert trials.unit_ids.tolist() == ids


def test_rate_is_per_second_observed(make_nwb):
    nwb = make_nwb([[1, 2, 3, 8], [1, 2, 3, 8]], obs=[[[0, 5]], [[0, 1.5], [5, 7.5]]])
    trials = read_nwb(nwb, bin_width=0.5, chunk=2.0, units="rate > 0.2")  # 3 / 5 and 1 / 4 Hz
    assert trials.unit_ids.tolist() == [0, 1]
    with pytest.raises(ValueError, match="at least 2 neurons"):
        read_nwb(nwb, bin_width=0.5, chunk=2.0, units="rate > 0.3")


def test_trials_by_query_and_table_by_name(make_nwb, write):
    path = write(session(make_nwb))
    assert set(read_nwb(path, bin_width=0.1, trials="side == 'left' and start_time > 1").table["side"]) == {"left"}
    assert read_nwb(path, bin_width=0.1, trials="id > 5").table["trial_id"].tolist() == [6, 7, 8]
    sleep = read_nwb(path, bin_width=0.1, table="sleep")
    assert sleep.lengths.tolist() == [50, 30]
    chunks = read_nwb(path, bin_width=0.1, chunk=1.0, trials="start_time < 3")
    assert chunks.starts.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "how",
    [
        dict(bin_width=0.1, align="cue", window=(-0.2, 0.5), behavior="hand", trials="side == 'left'"),
        dict(bin_width=0.07, units="rate > 1"),
        dict(bin_width=0.03),
        dict(bin_width=0.03, table="none"),
        dict(bin_width=0.05, table="sleep", behavior=["hand"]),
    ],
)
def test_origin_cuts_the_same_trials_again_from_a_derived_file(make_nwb, write, how):
    path = write(session(make_nwb))
    first = read_nwb(path, **how)
    derived = path.with_name("derived.nwb")
    with NWBHDF5IO(path, "r") as source:
        nwb = source.read()
        module = nwb.create_processing_module("lowrank_rnn", "results")
        windows = TimeIntervals(name="fit0_windows", description="intervals")
        windows.add_row(start_time=-500.0, stop_time=900.0)
        module.add([windows, TimeSeries(name="hand", data=np.ones(3), unit="a.u.", rate=1.0)])
        with NWBHDF5IO(derived, "w") as out:
            out.export(src_io=source, nwbfile=nwb)
    cut = json.loads(json.dumps(first.origin["cut"]))
    again = read_nwb(derived, **cut)
    same(first, again)
    assert again.origin["cut"] == first.origin["cut"] and again.origin["identifier"] == first.origin["identifier"]


def test_times_stay_on_the_files_clock(make_nwb, write):
    """timestamps_reference_time moves every time of a file alike, so nothing moves against anything else."""
    early = datetime(2019, 12, 31, 23, tzinfo=timezone.utc)
    plain = read_nwb(session(make_nwb), bin_width=0.1)
    same(plain, read_nwb(write(session(make_nwb, timestamps_reference_time=early)), bin_width=0.1))


def test_references_and_ragged_columns_of_a_table_do_no_harm(make_nwb, write):
    series = TimeSeries(name="hand", data=np.arange(200.0), unit="m", rate=10.0)
    nwb = make_nwb([EVERY, EVERY])
    nwb.add_acquisition(series)
    for start in (1.0, 3.0):
        nwb.add_trial(start_time=start, stop_time=start + 1, tags=["a", "b"][: int(start)], timeseries=[series])
    trials = read_nwb(write(nwb), bin_width=0.1, behavior="hand")
    assert list(trials.table) == ["trial_id", "start_time", "stop_time", "tags"]
    assert [list(tags) for tags in trials.table["tags"]] == [["a"], ["a", "b"]]


def test_no_electrodes_and_empty_units_and_no_trials(make_nwb):
    trials = read_nwb(make_nwb([EVERY, [], EVERY]), bin_width=0.1)
    assert trials.counts.sum((0, 1)).tolist() == [200, 0, 200] and trials.origin["cut"]["chunk"] == pytest.approx(10.0)


BAD = [
    (dict(), ValueError, "spike times need bin_width="),
    (dict(bin_width=-1.0), ValueError, "positive"),
    (dict(bin_width="wide"), ValueError, "positive number of seconds; got 'wide'"),
    (dict(bin_width=1e-9), ValueError, "larger bin_width="),
    (dict(bin_width=0.1, chunk=float("nan")), ValueError, "chunk must be a positive"),
    (dict(bin_width=0.1, window=(0,)), ValueError, "must be .start, stop."),
    (dict(bin_width=0.1, align="onset"), KeyError, "'onset' in intervals 'trials'; it has start_time, stop_time, cue"),
    (dict(bin_width=0.1, align="side", window=(0, 1)), ValueError, "holds no times"),
    (dict(bin_width=0.1, align="cue"), ValueError, r"needs window="),
    (dict(bin_width=0.1, table="sleeep"), KeyError, "the file has sleep, trials"),
    (dict(bin_width=0.1, window=(5, 6)), ValueError, "outside every trial"),
    (dict(bin_width=0.1, window=(1, 0)), ValueError, "start < stop"),
    (dict(bin_width=0.7, window=(0, 0.5)), ValueError, "wider than the window"),
    (dict(bin_width=9.0), ValueError, "shorter than one bin"),
    (dict(bin_width=0.7, chunk=0.5), ValueError, "wider than chunks"),
    (dict(bin_width=0.1, chunk=1.0, align="cue"), ValueError, "no trials to align"),
    (dict(bin_width=0.1, units="rate > 99"), ValueError, "no unit of 3"),
    (dict(bin_width=0.1, units="id == 5"), ValueError, "at least 2 neurons"),
    (dict(bin_width=0.1, units="qality == 'good'"), ValueError, "Columns of units: id, quality, heldout.*isi_violation, presence"),
    (dict(bin_width=0.1, units="rate + 1"), ValueError, "true or false"),
    (dict(bin_width=0.1, units="rate.to_pickle('x') == 1"), ValueError, "not allowed"),
    (dict(bin_width=0.1, units="@pd.eval('1') == 1"), ValueError, "cannot use"),
    (dict(bin_width=0.1, trials="side == 'up'"), ValueError, "Loosen trials="),
    (dict(bin_width=0.1, trials="id == 1"), ValueError, "more than one trial.*chunk="),
    (dict(bin_width=0.1, trials="nowhere > 1"), ValueError, "Columns of trial: id, start_time"),
    (dict(bin_width=0.1, behavior="feet"), KeyError, "behavior/hand"),
    (dict(bin_width=0.1, signal="ophys/x"), KeyError, "no ROI response series 'ophys/x'"),
    (dict(bin_width=0.1, units="heldout"), ValueError, "at least 2 neurons"),
]  # fmt: skip


@pytest.mark.parametrize("how,kind,message", BAD)
def test_a_bad_request_is_answered_in_a_sentence(make_nwb, how, kind, message):
    with pytest.raises(kind, match=message) as caught:
        read_nwb(session(make_nwb), **how)
    assert caught.type is kind and "read_nwb" in str(caught.value)


def test_nothing_to_read(make_nwb):
    with pytest.raises(ValueError, match="no units with spike times and no ROI response series"):
        read_nwb(make_nwb(), bin_width=0.1)
    with pytest.raises(ValueError, match="zero spikes"):
        read_nwb(make_nwb([[], []]), bin_width=0.1)
    two = dict(start_time=[7, 8.0], stop_time=[8, 9.0])
    with pytest.raises(ValueError, match="zero spikes .* in the windows"):
        read_nwb(make_nwb([[1.0], [1.0]], trials=two, obs=[[[0, 10]]] * 2), bin_width=0.1)
    with pytest.raises(ValueError, match="nothing was recorded"):
        read_nwb(make_nwb([[1.0], [1.0]], trials=two, obs=[[[0, 3]]] * 2), bin_width=0.1)
    with pytest.raises(ValueError, match="every unit chosen is marked"):
        read_nwb(make_nwb([EVERY, EVERY], columns=dict(heldout=[True, True])), bin_width=0.1)
    with pytest.raises(ValueError, match="need an interval table"):
        read_nwb(make_nwb([EVERY, EVERY]), bin_width=0.1, align="cue", window=(0, 1))


def test_broken_files(make_nwb, write, tmp_path):
    good = write(session(make_nwb))
    (tmp_path / "text.nwb").write_text("hello")
    (tmp_path / "empty.nwb").write_bytes(b"")
    (tmp_path / "cut.nwb").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    with h5py.File(tmp_path / "other.nwb", "w") as other:
        other["x"] = 1
    cases = [("none.nwb", FileNotFoundError, "no file"), ("text.nwb", ValueError, "something else"),
             (".", ValueError, "a folder"), ("empty.nwb", ValueError, "something else"),
             ("cut.nwb", ValueError, "cut short"),
             ("other.nwb", ValueError, "holds no NWB session")]  # fmt: skip
    for name, kind, message in cases:
        with pytest.raises(kind, match=message):
            read_nwb(tmp_path / name, bin_width=0.1)
    with pytest.raises(TypeError, match="got int"):
        read_nwb(3, bin_width=0.1)
    with pytest.raises(ValueError, match="cut short"):
        read_nwb(io.BytesIO((tmp_path / "cut.nwb").read_bytes()), bin_width=0.1)
