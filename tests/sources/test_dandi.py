"""Finding and downloading through the real client, from a stand-in server in its own process."""

import json
import logging
import subprocess
import sys
import time
from fnmatch import fnmatchcase

import numpy as np
import pytest
from dandi_fixtures import shared_folder, starting
from dandi_world import TOKEN

from nwb_lowrank.sources import _dandi_cache as cache
from nwb_lowrank.sources import _patient, _ranges
from nwb_lowrank.sources._dandi_errors import token_variable
from nwb_lowrank.sources.dandi import Asset, download_all, find_asset, find_assets, instance_of
from nwb_lowrank.sources.nwb import read_nwb

ONE = "DANDI:000001/0.240202.0002/sub-1/sub-1_ses-a_behavior+ecephys.nwb"
CUT = dict(bin_width=0.02, align="cue", window=(-0.1, 0.2), behavior="hand")
manifests = pytest.mark.skipif(not (shared_folder() / "dandi_manifests").exists(), reason="the real manifests are not here")


def blob_of(archive, number=1):
    return archive.contents["000001"]["versions"]["draft"][number]["blob"]


def test_the_latest_published_version_is_taken_and_said(dandi, caplog):
    found = find_assets("DANDI:000001")
    assert {asset.version for asset in found} == {"0.240202.0002"} and len(found) == 3
    assert "000001: version 0.240202.0002 (the latest published" in caplog.text
    assert len(find_assets("DANDI:000001/draft")) == 5 and len(find_assets("000001/0.240101.0001")) == 1


def test_folders_globs_items_and_api_urls(dandi):
    assert [a.path for a in find_assets("dandi://000001@draft/sub-2/")] == ["sub-2/sub-2_ses-a_behavior+ecephys.nwb"]
    assert [a.path for a in find_assets("dandi://000001@draft/sub-2")] == ["sub-2/sub-2_ses-a_behavior+ecephys.nwb"]
    assert len(find_assets("DANDI:000001/draft", glob="sub-*/*.nwb")) == 4
    api = f"{dandi.api}/api/dandisets/000001/versions/draft/assets/"
    assert [a.path for a in find_assets(f"{api}?path=sub-3")] == ["sub-3/sub-3_ses-a_behavior+ecephys.nwb"]
    assert len(find_assets(f"{api}?glob=*.nwb")) == 4
    identifier = find_asset(ONE).asset_id
    bare = find_asset(f"{dandi.api}/api/assets/{identifier}/")
    assert (bare.asset_id, bare.dandiset) == (identifier, None)
    assert find_asset(find_asset(ONE).url).asset_id == identifier  # what is recorded finds the same asset again


@manifests
def test_real_manifests_page_by_page(dandi):
    """19 assets in pages of 5, with sizes and digests as the archive published them."""
    dandi.control(page_size=5)
    manifest = json.loads((shared_folder() / "dandi_manifests" / "000207" / "assets.json").read_text())
    found = find_assets("DANDI:000207/draft")
    assert {a.path: (a.size, a.digests) for a in found} == {m["path"]: (m["size"], m["metadata"]["digest"]) for m in manifest}
    assert len([e for e in dandi.log(method="GET") if "versions/draft/assets" in e["path"]]) == 4
    glob = "sub-1*/*_ecephys.nwb"
    assert {a.path for a in find_assets("000207/draft", glob)} == {m["path"] for m in manifest if fnmatchcase(m["path"], glob)}
    train = find_assets("DANDI:000140/0.220113.0408", "*train*")[0]
    assert train.size == 29_207_528 and train.holds[:2] == ("ProcessingModule", "Units")


def test_a_download_is_verified_kept_by_its_digest_and_not_repeated(dandi):
    asset = find_asset(ONE)
    assert asset.cached() is None
    path = asset.download(progress=False)
    assert path == asset.cached() and path.read_bytes() == dandi.files[1].read_bytes() and path.stem == asset.digests[cache.SHA256]
    assert find_asset(ONE.replace("0.240202.0002", "draft")).download() == path  # another version, the same content
    assert len(dandi.log(role="store")) == 1


def test_without_sha256_the_dandi_etag_verifies(dandi):
    asset = find_asset(ONE)
    fields = {name: getattr(asset, name) for name in Asset.__dataclass_fields__}
    only = Asset(**fields | dict(digests={cache.ETAG: asset.digests[cache.ETAG]}))
    assert only.download(progress=False).stem == asset.digests[cache.ETAG]
    with pytest.raises(ValueError, match="expected a digest"):
        Asset(**fields | dict(digests={cache.SHA256: "../../etc/passwd"})).download()


def test_a_dropped_connection_goes_on_where_it_stopped(dandi, caplog):
    dandi.control(faults=[dict(role="store", match=blob_of(dandi), drop_after=100_000) for _ in range(2)])
    path = find_asset(ONE).download(progress=False)
    assert path.read_bytes() == dandi.files[1].read_bytes()
    log = dandi.log(role="store")
    begins = starting(log)
    assert len(log) == 3 and begins[0] == 0 and 0 < begins[1] < begins[2]
    assert begins[1] <= 100_000 and caplog.text.count("connection was lost") == 2


def test_what_a_killed_process_had_received_is_used(dandi):
    asset = find_asset(ONE)
    part = cache.cache_folder() / asset.digests[cache.SHA256][:2] / f"{asset.digests[cache.SHA256]}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(dandi.files[1].read_bytes()[:60_000])
    assert asset.download(progress=False).read_bytes() == dandi.files[1].read_bytes()
    assert starting(dandi.log(role="store")) == [60_000] and not part.exists()


def test_a_wrong_content_is_never_kept(dandi, caplog):
    wrong = dict(role="store", match=blob_of(dandi), corrupt=True)
    dandi.control(faults=[dict(wrong)])
    asset = find_asset(ONE)
    assert asset.download(progress=False).read_bytes() == dandi.files[1].read_bytes() and "does not match its digest" in caplog.text
    asset.cached().unlink()
    dandi.control(faults=[dict(wrong, times=2)])
    with pytest.raises(ValueError, match="arrived twice with a content that does not match its digest"):
        asset.download(progress=False)
    assert not [path for path in cache.cache_folder().rglob("*") if path.suffix in (".nwb", ".part")]


def test_processes_share_one_download(dandi):
    """Three processes ask at once; the store sends the file once."""
    dandi.control(faults=[dict(role="store", match=blob_of(dandi), sleep=1.0)])
    code = f"from nwb_lowrank.sources.dandi import find_asset; print(find_asset({ONE!r}).download(progress=False))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    paths = {process.communicate(timeout=60)[0].strip() for process in running}
    assert len(paths) == 1 and len(dandi.log(role="store")) == 1


def test_parallel_downloads_fail_one_by_one(dandi):
    """One of four is broken: the other three arrive, and its error stands in its place."""
    dandi.control(faults=[dict(role="store", match=blob_of(dandi, 2), status=404, times=9)])
    found = find_assets("DANDI:000001/draft", "*.nwb")
    outcomes = download_all(found, jobs=4, progress=False)
    assert [type(outcome).__name__ for outcome in outcomes].count("FileNotFoundError") == 1
    assert [o.read_bytes() for o in outcomes if not isinstance(o, Exception)] == [dandi.files[n].read_bytes() for n in (0, 1, 3)]


def test_a_server_in_trouble_recovers_while_the_user_sees_it(dandi, caplog):
    busy = [dict(role="api", match="dandisets", status=500, times=2), dict(role="api", match="assets", status=429, retry_after=1)]
    dandi.control(faults=busy)
    started = time.monotonic()
    assert len(find_assets("000001/draft")) == 5
    assert time.monotonic() - started >= 1  # the server asked for a second
    assert caplog.text.count("answered 500; trying again") == 2 and "answered 429; trying again in 1 s (Ctrl-C stops)" in caplog.text


def test_waiting_can_be_interrupted(dandi, monkeypatch):
    monkeypatch.setattr(_patient, "WAITS", (60,))
    dandi.control(faults=[dict(role="api", match="dandisets", status=503, times=9)])
    _patient.stopping.set()
    try:
        with pytest.raises(KeyboardInterrupt):
            find_assets("000001/draft")
    finally:
        _patient.stopping.clear()


@pytest.mark.parametrize("address, faults, error, sentence", [
    ("DANDI:000009", [], FileNotFoundError, r"has no dandiset 000009 \(404\)"),
    ("DANDI:000001/9.9.9", [], FileNotFoundError, r"no version 9.9.9; it has 0.240101.0001, 0.240202.0002, draft"),
    ("DANDI:000001/9.9", [], FileNotFoundError, r"no version 9.9; it has 0.240101.0001, 0.240202.0002, draft"),
    ("DANDI:000001/draft/sub-9/", [], FileNotFoundError, "no asset matches 'sub-9/'"),
    ("DANDI:000001/draft", [], ValueError, r"expected one NWB asset .* got 4: .*; Name one|expected one NWB asset"),
    ("DANDI:000002", [], PermissionError, r"embargoed or private and needs a token \(401\).*_API_KEY"),
    ("DANDI:000003", [], PermissionError, r"you may not read dandiset 000003 .*\(403\)"),
    ("DANDI:000001", [dict(role="api", match="dandisets", status=500, times=99)], ConnectionError, "answered 500 4 times"),
    ("DANDI:000001", [dict(role="api", match="dandisets", status=418)], ConnectionError, "answered 418"),
])  # fmt: skip
def test_every_refusal_is_one_sentence(dandi, address, faults, error, sentence):
    dandi.control(faults=faults)
    with pytest.raises(error, match=sentence) as caught:
        find_asset(address)
    text = str(caught.value)
    assert text.startswith("dandi: ") and "\n" not in text and type(caught.value).__module__ in ("builtins", _patient.__name__)


def test_offline_and_silent_servers(dandi, monkeypatch):
    monkeypatch.setattr(_patient, "TIMEOUT", (1, 0.2))
    dandi.control(faults=[dict(role="api", match="dandisets", sleep=0.6, times=99)])
    with pytest.raises(TimeoutError, match="did not answer within 0.2 s, 4 times"):
        find_assets("DANDI:000001")
    monkeypatch.setenv("DANDI_INSTANCE", "http://127.0.0.1:9/api")
    with pytest.raises(ConnectionError, match=r"cannot reach 127.0.0.1:9 \(4 tries\). Check the network"):
        find_assets("DANDI:000001")
    with pytest.raises(ValueError, match="expected an instance such as dandi"):
        find_assets("dandi://nowhere/000001")


def test_tokens_go_to_their_instance_and_nowhere_else(dandi, monkeypatch):
    variable = token_variable(instance_of(None)[0])
    monkeypatch.setenv(variable, TOKEN)
    monkeypatch.setenv("DANDI_API_KEY", "of-the-real-archive")
    assert (token_variable("dandi"), token_variable("dandi-sandbox")) == ("DANDI_API_KEY", "DANDI_SANDBOX_API_KEY")
    asset = find_asset("DANDI:000002/draft")
    assert asset.download(progress=False).read_bytes() == dandi.files[3].read_bytes()
    assert all(entry["authorization"] == f"token {TOKEN}" for entry in dandi.log(role="api"))
    assert all(entry["authorization"] is None and "Signature" in entry["query"] for entry in dandi.log(role="store"))


def test_a_wrong_token_is_named_but_not_shown(dandi, monkeypatch):
    variable = token_variable(instance_of(None)[0])
    monkeypatch.setenv(variable, "WRONG-TOKEN")
    with pytest.raises(PermissionError, match=f"does not accept the token in {variable}") as caught:
        find_assets("DANDI:000002")
    assert "WRONG" not in str(caught.value)


def test_no_secret_is_ever_shown_or_logged(dandi, monkeypatch, caplog, capfd):
    """Every logger at its most talkative, through successes and failures with signed URLs."""
    monkeypatch.setenv(token_variable(instance_of(None)[0]), TOKEN)
    monkeypatch.setenv("DANDI_LOG_LEVEL", "DEBUG")
    caplog.set_level(logging.DEBUG)
    logging.getLogger("dandi").setLevel(logging.DEBUG)
    asset = find_asset("DANDI:000002/draft")
    dandi.control(faults=[dict(role="store", match="blobs", drop_after=10_000), dict(role="store", match="blobs", status=500)])
    asset.download()
    asset.cached().unlink()
    dandi.control(faults=[dict(role="store", match="blobs", status=403)])
    with pytest.raises(PermissionError) as refused:
        asset.download()
    dandi.control(faults=[dict(role="store", match="blobs", status=500, times=9)])
    with pytest.raises(ConnectionError) as broken, asset.stream() as file:
        file.read(10)
    told = caplog.text + "".join(capfd.readouterr()) + str(refused.value) + str(broken.value)
    assert "X-Amz-Signature=…" in told  # something was said about the signed URL, and this is what is left of it
    assert TOKEN not in told and "SIGNED-1" not in told
    logging.getLogger("dandi").setLevel(logging.CRITICAL)


def test_read_nwb_takes_an_address_and_records_where_the_data_came_from(dandi):
    trials = read_nwb(ONE, **CUT)
    local = read_nwb(dandi.files[1], **CUT)
    assert np.array_equal(trials.counts, local.counts) and trials.origin["sha256"] == local.origin["sha256"]
    about = trials.origin["dandi"]
    assert (about["dandiset"], about["version"]) == ("000001", "0.240202.0002") and ONE.endswith(about["path"])
    assert about["digest"]["sha2-256"] == local.origin["sha256"] and about["asset_id"] == find_asset(ONE).asset_id
    assert find_asset(trials.origin["path"]).asset_id == about["asset_id"]


def test_streaming_reads_the_same_and_moves_little(dandi):
    asset = find_asset(ONE)
    with asset.stream() as file:
        trials = read_nwb(file, **CUT)
    local = read_nwb(dandi.files[1], **CUT)
    assert np.array_equal(trials.counts, local.counts) and np.array_equal(trials.behavior, local.behavior)
    assert trials.origin["dandi"] == asset.origin()["dandi"] and trials.origin["path"] == asset.url
    assert file.moved == sum(entry["sent"] for entry in dandi.log(role="store")) <= asset.size
    assert not cache.cache_folder().exists()


def test_a_signature_that_expires_while_streaming_is_renewed(dandi, monkeypatch):
    monkeypatch.setenv(token_variable(instance_of(None)[0]), TOKEN)
    monkeypatch.setattr(_ranges, "WHOLE", 0)  # the file is small
    with find_asset("DANDI:000002/draft").stream() as file:
        first = file.read(4)
        dandi.control(signature="SIGNED-2")
        file.seek(200_000)
        assert first == b"\x89HDF" and file.read(100) == dandi.files[3].read_bytes()[200_000:200_100]
    assert [entry["status"] for entry in dandi.log(role="store")] == [206, 403, 206]
