"""Zarr assets of DANDI: listed, downloaded into the cache file by file, verified, resumed, read."""

import shutil

import numpy as np
import pytest
from dandi_world import TOKEN

from nwb_lowrank.cli import main
from nwb_lowrank.sources import _dandi_cache as cache
from nwb_lowrank.sources import _dandi_zarr as door
from nwb_lowrank.sources._dandi_errors import token_variable
from nwb_lowrank.sources.dandi import find_asset, instance_of
from nwb_lowrank.sources.nwb import read_nwb

ONE = "DANDI:000005/draft/sub-0/sub-0_ecephys.nwb.zarr"
CUT = dict(bin_width=0.02, align="cue", window=(-0.1, 0.2), behavior="hand")


def tree(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_zarr_asset_reads_as_the_file_that_it_came_from(dandi):
    asset = find_asset(ONE)
    assert asset.zarr and asset.cached() is None
    trials, local = read_nwb(ONE, **CUT), read_nwb(dandi.files[0], **CUT)
    assert np.array_equal(trials.counts, local.counts) and np.array_equal(trials.behavior, local.behavior)
    assert trials.origin["path"] == asset.url and trials.origin["dandi"]["digest"] == {"dandi-zarr-checksum": asset.digests[cache.ZARR]}
    assert tree(asset.cached()) == tree(dandi.zarr)
    before = len(dandi.log(role="store"))
    assert find_asset(ONE).download() == asset.cached() and len(dandi.log(role="store")) == before == len(tree(dandi.zarr))


def test_the_listing_goes_on_page_by_page(dandi):
    dandi.control(page_size=7)
    assert tree(find_asset(ONE).download(progress=False)) == tree(dandi.zarr)


def test_what_an_earlier_try_received_is_used_and_older_files_go(dandi):
    asset = find_asset(ONE)
    part = cache.place(asset.digests).with_suffix(".part")
    shutil.copytree(dandi.zarr, part)
    names = sorted(tree(part))
    (part / names[0]).unlink()
    (part / names[1]).write_bytes(b"of an older version" * 40)
    (part / "left_over").write_text("x")
    assert tree(asset.download(progress=False)) == tree(dandi.zarr)
    assert {entry["path"].split("/", 3)[3] for entry in dandi.log(role="store")} == set(names[:2])


def test_a_dropped_connection_and_a_wrong_content(dandi, caplog):
    name = max(tree(dandi.zarr), key=lambda key: len(tree(dandi.zarr)[key]))
    dandi.control(faults=[dict(role="store", match=name, drop_after=100), dict(role="store", match="units/id/0", corrupt=True)])
    assert tree(find_asset(ONE).download(progress=False)) == tree(dandi.zarr)
    shutil.rmtree(cache.cache_folder())
    dandi.control(faults=[dict(role="store", match="units/id/0", corrupt=True, times=9)])
    with pytest.raises(ValueError, match="dandi: 'units/id/0' arrived twice with a content that does not match its digest"):
        find_asset(ONE).download(progress=False)
    assert find_asset(ONE).cached() is None
    dandi.control(clear=True)
    assert tree(find_asset(ONE).download(progress=False)) == tree(dandi.zarr)


def test_the_whole_must_match_too(dandi):
    asset = find_asset(ONE)
    with pytest.raises(ValueError, match="are not those of its digest: the asset changed meanwhile, or is damaged"):
        door.fetch_zarr(asset.path, {cache.ZARR: "0" * 32 + "-1--1"}, asset._entries, progress=False)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../b", "C:/x", "a\\b", ""])
def test_no_file_may_lie_outside(dandi, path):
    entry = door.Entry(path, 1, "0" * 32, lambda start: iter([b"x"]))
    with pytest.raises(ValueError, match="lies outside of it; nothing was kept"):
        door.fetch_zarr("bad", {cache.ZARR: "1" * 32 + "-1--1"}, lambda: [entry], progress=False)


def test_embargoed_stores_need_the_token(dandi, monkeypatch):
    with pytest.raises(PermissionError, match="needs a token"):
        find_asset("DANDI:000006/draft")
    monkeypatch.setenv(token_variable(instance_of(None)[0]), TOKEN)
    assert tree(find_asset("DANDI:000006/draft").download(progress=False)) == tree(dandi.zarr)
    assert all(entry["authorization"] is None for entry in dandi.log(role="store"))


def test_streaming_a_store_is_refused_and_ls_and_info_know_it(dandi, capsys):
    with pytest.raises(ValueError, match="Zarr store of many files, which is read from the cache only. Leave --stream out"):
        find_asset(ONE).stream()
    assert main(["dandi", "ls", "000005/draft"]) in (0, None)
    assert " zarr " in capsys.readouterr().out
    assert main(["info", ONE]) in (0, None)
    assert "nwb-lowrank fit DANDI:000005" in capsys.readouterr().out
    main(["dandi", "ls", "000005/draft"])
    assert " cached " in capsys.readouterr().out
