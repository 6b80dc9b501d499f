"""Any http(s) URL of an NWB file: downloaded once, resumed, streamed, refused in sentences, without its secrets."""

import json

import numpy as np
import pytest
from dandi_fixtures import dump, starting

import nwb_lowrank as nl
from nwb_lowrank.batch import MANIFEST
from nwb_lowrank.cli import main
from nwb_lowrank.sources._dandi_cache import cache_folder
from nwb_lowrank.sources.nwb import read_nwb
from nwb_lowrank.sources.remote import find_remote, is_remote

CUT = dict(bin_width=0.02, align="cue", window=(-0.1, 0.2), behavior="hand")
QUICK = ["--bin", "0.05", "--warm-rounds", "1", "--steps", "1", "--particles", "2", "--hidden", "2", "--rank", "1"]


@pytest.fixture
def url(dandi):
    return f"{dandi.store}/files/session.nwb"


def same(one, two):
    return np.array_equal(one.counts, two.counts) and np.array_equal(one.behavior, two.behavior)


def test_a_url_reads_as_the_file_and_is_downloaded_once(dandi, url):
    trials, local = read_nwb(url, **CUT), read_nwb(dandi.files[1], **CUT)
    assert same(trials, local) and trials.origin["path"] == url and trials.origin["sha256"] == local.origin["sha256"]
    assert same(read_nwb(url, **CUT), local)
    whole = [entry for entry in dandi.log(role="store") if entry["sent"] > 1]
    assert len(whole) == 1 and find_remote(url).cached().read_bytes() == dandi.files[1].read_bytes()
    assert is_remote(url) and not is_remote("session.nwb") and not is_remote(dandi.files[1])


@pytest.mark.parametrize("place", ["session.nwb", "whole/session.nwb"])
def test_a_dropped_connection_goes_on(dandi, place, caplog):
    """From where it stopped; a server without ranges sends all again, and the first part is skipped."""
    dandi.control(faults=[dict(role="store", match="session.nwb", times=0), dict(role="store", match="session.nwb$", drop_after=100_000)])
    remote = find_remote(f"{dandi.store}/files/{place}")
    dandi.control(clear=True, faults=[dict(role="store", match="session.nwb", drop_after=100_000)])
    assert remote.ranges == (place == "session.nwb")
    assert remote.download(progress=False).read_bytes() == dandi.files[1].read_bytes()
    begins = starting(dandi.log(role="store"))
    assert len(begins) == 2 and "url: 'session.nwb': the connection was lost" in caplog.text
    assert (begins[1] > 0) == remote.ranges


def test_another_content_at_the_same_address_is_another_file(dandi, url):
    first = find_remote(url).download(progress=False)
    other = dandi.world.parent / "www" / "session.nwb"
    before = other.read_bytes()
    try:
        other.write_bytes(dandi.files[2].read_bytes())
        assert find_remote(url).download(progress=False).read_bytes() == dandi.files[2].read_bytes() and first.exists()
    finally:
        other.write_bytes(before)


def test_streaming_moves_little_and_needs_ranges(dandi, url):
    with find_remote(url).stream() as opened:
        trials = read_nwb(opened, **CUT)
    assert same(trials, read_nwb(dandi.files[1], **CUT)) and trials.origin["path"] == url
    assert opened.moved <= find_remote(url).size and not cache_folder().with_name("web").exists()
    with pytest.raises(ValueError, match="sends whole files only. Leave --stream out"):
        find_remote(f"{dandi.store}/files/whole/session.nwb").stream()


def test_signed_addresses_work_and_are_kept_nowhere(dandi, tmp_path, capsys, caplog):
    url = f"{dandi.store}/files/secret/session.nwb?sig=SIGNED-1&more=1"
    trials = read_nwb(url, **CUT)
    assert trials.origin["path"] == f"{dandi.store}/files/secret/session.nwb"
    out = tmp_path / "out"
    assert main(["fit", url, *QUICK, "--seed", "0", "1", "--folder", str(out)]) == 0  # a batch: a manifest is kept
    assert main(["fit", url, *QUICK, "--stream", "--folder", str(tmp_path / "streamed")]) in (0, None)
    assert main(["fit", url, url + "&again=1", *QUICK, "--folder", str(tmp_path / "twice")]) == 2  # both would write the same run
    written = sorted(tmp_path.glob("*/session_lowrank.nwb"))
    assert len(written) == 2 and nl.list_runs(written[0]) == ["fit0-seed0", "fit0-seed1"]
    assert nl.read_results(written[1]).trials.origin["path"] == trials.origin["path"]
    assert "SIGNED-1" not in "".join(capsys.readouterr()) + caplog.text + dump(json.loads((out / MANIFEST).read_text()))
    assert not any(b"SIGNED-1" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("place, error, sentence", [
    ("files/nothing.nwb", FileNotFoundError, r"url: there is nothing at http://.*/files/nothing.nwb \(404\)"),
    ("files/secret/session.nwb?sig=WRONG", PermissionError, r"url: http://[^?]*/session.nwb may not be read \(403\)"),
    ("files/page.html", ValueError, "is a web page. Pass the address of the file itself"),
])  # fmt: skip
def test_every_refusal_is_one_sentence(dandi, place, error, sentence):
    with pytest.raises(error, match=sentence) as caught:
        read_nwb(f"{dandi.store}/{place}", **CUT)
    assert "WRONG" not in str(caught.value) and "\n" not in str(caught.value)


def test_offline(dandi):
    with pytest.raises(ConnectionError, match=r"url: cannot reach 127.0.0.1:9 \(4 tries\). Check the network"):
        read_nwb("http://user:password@127.0.0.1:9/session.nwb", **CUT)


def test_info_takes_a_url(dandi, url, capsys):
    for words in ([url], [url, "--stream"]):
        assert main(["info", *words]) in (0, None)
        assert f"nwb-lowrank fit {url}" in capsys.readouterr().out
