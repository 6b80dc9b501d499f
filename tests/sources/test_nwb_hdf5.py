"""Tables straight from HDF5 are what pynwb shows of the same file; where they could not be, pynwb reads it."""

import h5py
import numpy as np
import pandas as pd
import pytest
from pynwb import NWBHDF5IO
from pynwb.epoch import TimeIntervals

from nwb_lowrank.sources import _nwb_file as file
from nwb_lowrank.sources._nwb_hdf5 import LARGE_CHUNK, tables_of, values
from nwb_lowrank.sources._nwb_units import read_spikes
from nwb_lowrank.sources.nwb import read_nwb

NAMES = {kind.__name__ for kind in file.INTERVALS}


@pytest.fixture
def rich(make_nwb, write):
    """Ragged and nested columns, references, electrodes of several units, intervals in three places, events."""
    nwb = make_nwb(
        [[0.1, 0.2, 5.0], [], [3.0, 1.0, np.nan], [0.5]], ids=[7, 3, 9, 1], electrodes=["M1", "PMd", "M1", "M1"],
        obs=[[[0.0, 4.0], [5.0, 9.0]]] * 4, columns=dict(quality=["good", "mua", "good", "é"], depth=[1.0, 2.0, 3.0, 4.0]),
        trials=dict(start_time=np.arange(4.0), stop_time=np.arange(4.0) + 0.5, side=["l", "r", "l", "r"]),
    )  # fmt: skip
    more = TimeIntervals(name="reaches", description="d")
    for start in range(3):
        more.add_interval(start_time=float(start), stop_time=start + 0.2)
    nwb.add_time_intervals(more)
    module = nwb.create_processing_module("behavior", "b")
    lapses = TimeIntervals(name="lapses", description="d")
    lapses.add_interval(start_time=0.0, stop_time=0.5)
    module.add(lapses)
    return write(nwb)


def agree(path):
    with h5py.File(path, "r") as opened, NWBHDF5IO(path, "r", load_namespaces=True) as io:
        seen, nwb = tables_of(opened, NAMES), io.read()
        assert seen is not None
        for name in ("identifier", "object_id", "session_start_time"):
            assert getattr(seen, name) == getattr(nwb, name)
        ours, theirs = file.interval_tables(seen), file.interval_tables(nwb)
        assert list(ours) == list(theirs)
        for place in ours:
            pd.testing.assert_frame_equal(file.frame(ours[place]), file.frame(theirs[place]))
        one, two = read_spikes(seen), read_spikes(nwb)
        assert [part.tolist() for part in one.times] == [part.tolist() for part in two.times] and one.extent == two.extent
        pd.testing.assert_frame_equal(one.described(), two.described())
        assert (one.observed is None) == (two.observed is None)
        assert one.observed is None or all(map(np.array_equal, one.observed, two.observed))


def test_they_are_what_pynwb_shows(rich):
    agree(rich)


@pytest.mark.parametrize("name", ["chewie_center_out", "hippocampus_linear_track", "human_mtl_dandi000207", "mc_maze_two_trials"])
def test_of_the_real_files_too(shared_data, name):
    agree(shared_data / "nwb" / f"{name}.nwb")


def test_whatever_only_pynwb_can_tell_is_left_to_it(rich, tmp_path):
    expected = read_nwb(rich, bin_width=0.1)
    for number, spoil in enumerate([_extension, _outside, _no_zone]):
        path = tmp_path / f"{number}.nwb"
        path.write_bytes(rich.read_bytes())
        with h5py.File(path, "r+") as opened:
            spoil(opened)
        with h5py.File(path, "r") as opened:
            assert tables_of(opened, NAMES) is None
    other = tmp_path / "1.nwb"
    assert np.array_equal(read_nwb(other, bin_width=0.1).counts, expected.counts)


def _extension(opened):
    opened["general/devices"].create_group("x").attrs.update(neurodata_type="OurDevice", namespace="ndx-ours")


def _outside(opened):
    opened["scratch"] = h5py.ExternalLink("nowhere.h5", "/x")
    del opened["scratch"]
    opened["stimulus/templates/far"] = h5py.ExternalLink("nowhere.h5", "/x")


def _no_zone(opened):
    del opened["session_start_time"]
    opened["session_start_time"] = "2020-01-01T00:00:00"


BIG = LARGE_CHUNK // 8  # numbers of the smallest chunk that is read straight


@pytest.mark.parametrize("options", [
    dict(chunks=(BIG,)), dict(chunks=(BIG,), maxshape=(None,)), dict(chunks=(BIG,), dtype=">f8"), dict(chunks=(BIG,), compression="gzip"),
    dict(chunks=(BIG // 2,)), dict(chunks=None), dict(chunks=(2 * BIG,), dtype="i8"), dict(chunks=(4 * BIG,), maxshape=(None,)),
])  # fmt: skip
def test_values_of_a_dataset_however_it_is_stored(tmp_path, options):
    expected = np.random.default_rng(0).integers(0, 1 << 40, 2 * BIG + 3)
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened.create_dataset("x", data=expected, **options)
    with h5py.File(tmp_path / "a.h5") as opened:
        found = values(opened["x"])
        assert found.dtype == opened["x"].dtype and np.array_equal(found, expected)


def test_chunks_never_written_hold_the_fill_value(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        stored = opened.create_dataset("x", (3 * BIG,), float, chunks=(BIG,), fillvalue=7.0)
        stored[:BIG] = 1.0
    with h5py.File(tmp_path / "a.h5") as opened:
        found = values(opened["x"])
    assert (found[:BIG] == 1).all() and (found[BIG:] == 7).all()


def test_a_dataset_without_values(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as opened:
        opened.create_dataset("x", (0,), float, chunks=(BIG,), maxshape=(None,))
    with h5py.File(tmp_path / "a.h5") as opened:
        assert values(opened["x"]).shape == (0,)
