"""Any content, legal or not: exact counts, or one sentence."""

import os
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nwb_lowrank.sources._windows import merge
from nwb_lowrank.sources.inventory import inventory
from nwb_lowrank.sources.nwb import read_nwb

EXAMPLES = int(os.environ.get("NWB_LOWRANK_EXAMPLES", 60))  # thousands, now and then
QUICK = settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
TICKS = st.integers(-300, 3000)  # hundredths of a second: many fall on edges
ODD = st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e3, -1e3, 0.1 + 0.2, 1e-12])
TIMES = st.lists(st.one_of(TICKS.map(lambda tick: tick / 100), ODD), max_size=25)
EDGE = st.one_of(st.integers(-100, 3000).map(lambda tick: tick / 100), st.sampled_from([float("nan")]))
INTERVALS = st.lists(st.tuples(EDGE, EDGE), max_size=4)
WIDTHS = st.sampled_from([0.01, 0.02, 0.03, 0.07, 0.1, 0.25, 1 / 3, 1.0])


@st.composite
def sessions(draw):
    units = draw(st.integers(2, 4))
    spikes = [draw(TIMES) for _ in range(units)]
    obs = draw(st.one_of(st.none(), st.lists(INTERVALS, min_size=units, max_size=units)))
    ids = draw(st.lists(st.integers(0, 10**6), min_size=units, max_size=units, unique=True))
    rows = draw(st.lists(st.tuples(EDGE, EDGE), max_size=6))
    trials = dict(start_time=[float(a) for a, _ in rows], stop_time=[float(b) for _, b in rows]) if rows else None
    return dict(spikes=spikes, obs=obs, ids=ids, trials=trials)


def naive(times, start, bins, width):
    counts = np.zeros(bins)
    for time in times:
        position = round((time - start) / width, 6) if np.isfinite(time) else -1
        if 0 <= position < bins:
            counts[int(position)] += 1
    return counts


def naive_mask(intervals, start, length, width):
    """Bins wholly inside one merged interval; to the tolerance of a millionth of a bin in which edges are compared."""
    fine = merge(np.array(intervals, float).reshape(-1, 2), 1e-6 * width)
    lefts = start + np.arange(length) * width
    return np.array([any(a <= left + 1e-6 * width and left + width <= b + 1e-6 * width for a, b in fine) for left in lefts], bool)


@QUICK
@given(sessions(), WIDTHS, st.sampled_from([{}, dict(chunk=1.0), dict(window=(-0.3, 0.5)), dict(table="none")]))
def test_binned_spikes_are_the_spikes_in_observed_windows(make_nwb, session, width, how):
    nwb = make_nwb(**session)
    try:
        trials = read_nwb(nwb, bin_width=width, **how)
    except (ValueError, KeyError, TypeError) as error:
        assert str(error.args[0]).startswith("read_nwb: ") and "does not know" not in str(error.args[0]), error
        return
    said = session["obs"] is not None and any(b > a for part in session["obs"] for a, b in part)
    for row in range(len(trials)):
        for unit, times in enumerate(session["spikes"]):
            expected = naive(times, trials.starts[row], trials.bins, width)
            mask = trials.mask[row, :, unit]
            if said:
                length = trials.lengths[row]
                assert not mask[length:].any()
                assert np.array_equal(mask[:length], naive_mask(session["obs"][unit], trials.starts[row], length, width))
            assert np.array_equal(trials.counts[row, :, unit], expected * mask)
    assert trials.origin["spikes_counted"] == trials.counts.sum()
    assert trials.unit_ids.tolist() == session["ids"]
    told = len(session["trials"]["start_time"]) if session["trials"] and trials.origin["cut"]["table"] == "trials" else None
    assert told is None or len(trials) + len(trials.origin["dropped"]) == told  # every trial is there or has a reason


@pytest.fixture(scope="module")
def whole(tmp_path_factory, make_nwb):
    """A file with a bit of everything."""
    from pynwb import NWBHDF5IO

    every = np.arange(0.05, 20, 0.1)
    nwb = make_nwb(
        [every, every[::2], every[::5]], columns=dict(quality=["good", "mua", "good"]), electrodes=["M1", "PMd", "M1"],
        obs=[[[0, 9.0], [10.0, 20]]] * 3,
        trials=dict(start_time=np.arange(0.0, 18, 2), stop_time=np.arange(0.0, 18, 2) + 1.5, side=["l", "r", "l"] * 3),
        behavior=dict(hand=(every, np.column_stack([every, every]), dict(unit="m"))),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("whole") / "whole.nwb"
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


def test_a_stray_spike_does_not_fill_the_memory(make_nwb):
    with pytest.raises(ValueError, match="which is 1e.12 bins. Pass a larger bin_width="):
        read_nwb(make_nwb([[1.0, 2.0], [3.0, 1e10]]), bin_width=0.01)


TARGETS = ["units/spike_times", "units/spike_times_index", "units/obs_intervals", "units/obs_intervals_index", "units/electrodes",
           "units/electrodes_index", "units/quality", "units/id", "units", "intervals/trials/start_time", "intervals/trials/stop_time",
           "intervals/trials/side", "intervals/trials/id", "intervals/trials", "processing/behavior/hand/data",
           "processing/behavior/hand/timestamps", "general/extracellular_ephys/electrodes/location", "identifier", "session_start_time",
           "specifications", "timestamps_reference_time"]  # fmt: skip
WRECKS = ["delete", "empty", "shorter", "longer", "text", "negative", "nan", "huge", "scalar", "matrix", "bytes", "no type", "attribute"]


def wreck(file: h5py.File, target: str, how: str) -> None:
    item = file[target]
    if how == "delete" or isinstance(item, h5py.Group) and how not in ("no type", "attribute"):
        del file[target]
    elif how == "no type":
        item.attrs.pop("neurodata_type", None)
    elif how == "attribute":
        for name in list(item.attrs)[:1]:
            item.attrs[name] = 7
    else:
        values, attributes = item[()], dict(item.attrs)
        flat = np.atleast_1d(values)
        number = flat if flat.dtype.kind in "iuf" else np.arange(len(flat))
        made = {
            "empty": flat[:0] if flat.dtype.kind in "iuf" else np.zeros(0),
            "shorter": number[:-1], "longer": np.concatenate([number, number]),
            "text": np.array(["x"] * len(flat), dtype=object), "negative": -number.astype(float).astype(np.int64) - 1,
            "nan": np.full(number.shape, np.nan), "huge": np.full(number.shape, 2**62), "scalar": np.float64(3),
            "matrix": np.tile(number.ravel(), (3, 1)), "bytes": np.array([b"\xff\xfe"] * len(flat), dtype="S2"),
        }[how]  # fmt: skip
        del file[target]
        file[target] = made
        file[target].attrs.update(attributes)


@pytest.mark.parametrize("how", WRECKS)
def test_a_wrecked_file_is_read_or_refused_in_a_sentence(whole, tmp_path, how):
    """Every part of the file in turn; what is read never counts a spike twice or invents one."""
    answers = 0
    for target in TARGETS:
        path = shutil.copy(whole, tmp_path / "wrecked.nwb")
        with h5py.File(path, "r+") as file:
            wreck(file, target, how)
        calls = [(read_nwb, dict(bin_width=0.1, behavior="hand", units="rate > 0", table=None if how in ("nan", "text") else "none"))]
        for call, options in calls + [(inventory, {})] * (how in ("delete", "empty", "matrix", "text")):
            try:
                answer = call(path, **options)
            except (ValueError, KeyError, TypeError, OSError) as error:
                text = str(error.args[0])
                assert text.startswith((f"{call.__name__}: ", "read_nwb: ")) and text.rstrip().endswith((".", ".)")), (target, text)
                assert len(text) < 900, (target, text)
                answers += 1
            else:
                if call is read_nwb:
                    assert answer.counts.sum() <= 340 and (answer.counts >= 0).all()
    assert answers or how == "attribute"
