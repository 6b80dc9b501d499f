"""NWB in Zarr folders is read as NWB in HDF5 is."""

import numpy as np
import pytest
from pynwb import NWBHDF5IO

from nwb_lowrank.sources.inventory import inventory
from nwb_lowrank.sources.nwb import read_nwb

EVERY = np.arange(0.05, 20, 0.1)


@pytest.fixture
def both(make_nwb, write, tmp_path):
    """The same session in HDF5 and in Zarr."""
    zarr = pytest.importorskip("hdmf_zarr")
    times = np.arange(0, 20, 0.02)
    nwb = make_nwb(
        [EVERY, EVERY[::2], [], EVERY[::5]], ids=[4, 9, 2, 7], electrodes=["M1", "PMd", "M1", "M1"], obs=[[[0, 9.0], [10.0, 20]]] * 4,
        columns=dict(quality=["good", "mua", "good", "good"]), behavior=dict(hand=(times, np.sin(times), dict(unit="m", conversion=2.0))),
        trials=dict(start_time=np.arange(0.0, 18, 2), stop_time=np.arange(0.0, 18, 2) + 1.5, side=["l", "r", "l"] * 3),
    )  # fmt: skip
    path = write(nwb)
    with NWBHDF5IO(path, "r") as source, zarr.NWBZarrIO(str(tmp_path / "session.nwb.zarr"), "w") as out:
        out.export(src_io=source, write_args=dict(link_data=False))
    return path, tmp_path / "session.nwb.zarr"


def test_zarr_gives_the_same_trials(both):
    hdf5, zarr = both
    how = dict(bin_width=0.1, behavior="hand", units="quality == 'good' and location == 'M1'", trials="side == 'l'")
    one, two = read_nwb(hdf5, **how), read_nwb(zarr, **how)
    for name in ("counts", "mask", "starts", "unit_ids", "behavior"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert one.table.equals(two.table) and one.origin["identifier"] == two.origin["identifier"]
    assert two.origin["path"] == str(zarr) and two.origin["sha256"] is None
    assert inventory(zarr).text().splitlines()[1:] == inventory(hdf5).text().splitlines()[1:]


def test_a_broken_store_and_a_folder_that_is_none(both, tmp_path):
    _, zarr = both
    for inner in zarr.rglob(".zarray"):
        inner.write_text("{")
    with pytest.raises(ValueError, match="read_nwb: .*session.nwb.zarr"):
        read_nwb(zarr, bin_width=0.1)
    with pytest.raises(ValueError, match="is a folder"):
        read_nwb(tmp_path, bin_width=0.1)


def test_without_hdmf_zarr_the_way_to_it_is_told(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    monkeypatch.setitem(sys.modules, "hdmf_zarr", None)
    with pytest.raises(ValueError, match=r"pip install 'nwb_lowrank\[zarr\]'"):
        read_nwb(tmp_path / "a.zarr", bin_width=0.1)


def test_results_of_a_zarr_folder_are_a_file_of_their_own(both, tmp_path):
    from nwb_lowrank.cli import main
    from nwb_lowrank.sinks.nwb import check_output, default_output, list_runs, read_results

    _, zarr = both
    quick = ["--bin", "0.1", "--warm-rounds", "1", "--steps", "1", "--particles", "2", "--hidden", "2", "--rank", "1"]
    assert main(["fit", str(zarr), *quick]) in (0, None)
    written = tmp_path / "session_lowrank.nwb"
    assert list_runs(written) == ["fit0"] and read_results(written).trials.origin["path"] == str(zarr)
    with pytest.raises(ValueError, match="Zarr folder, which is only read. Leave in_place out"):
        check_output(zarr, in_place=True)
    assert default_output(zarr.with_name("sub-1_ecephys.nwb.zarr")).name == "sub-1_desc-lowrank_ecephys.nwb"
