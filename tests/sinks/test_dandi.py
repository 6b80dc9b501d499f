"""Results on their way to DANDI: names, what its validator says, and the upload through the real client."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from dandi_world import TOKEN, recording
from pynwb import NWBHDF5IO

import nwb_lowrank as nl
from nwb_lowrank.cli import main
from nwb_lowrank.sinks.dandi import findings, upload, write_yaml
from nwb_lowrank.sinks.names import upload_path
from nwb_lowrank.sources._dandi_cache import cache_folder
from nwb_lowrank.sources._dandi_errors import token_variable
from nwb_lowrank.sources.dandi import find_asset, find_assets, instance_of

QUICK = ["--bin", "0.05", "--warm-rounds", "1", "--steps", "1", "--particles", "2", "--hidden", "2", "--rank", "1"]
EMBARGOED = "DANDI:000002/draft"


@pytest.mark.parametrize("name, wanted", [
    ("sub-1/sub-1_ses-a_behavior+ecephys.nwb", "sub-1/sub-1_ses-a_desc-lowrank_behavior+ecephys.nwb"),
    ("sub-Han_desc-train_ophys.nwb", "sub-Han/sub-Han_desc-train_desc-lowrank_ophys.nwb"),
    ("data/sub-x_ecephys.nwb", "sub-x/sub-x_desc-lowrank_ecephys.nwb"),
])  # fmt: skip
def test_names_keep_subject_session_and_modality(name, wanted):
    assert upload_path(None, name) == Path(wanted)


def test_an_unorganised_asset_keeps_its_name():
    assert upload_path(None, "raw/session 1.nwb") == Path("session 1_lowrank.nwb")


def test_other_names_come_from_the_session_itself(tmp_path):
    path = recording(tmp_path / "my data.nwb", subject="mouse_7/b")
    assert upload_path(path) == Path("sub-mouse-7-b/sub-mouse-7-b_desc-lowrank_behavior+ecephys.nwb")


def test_dandi_takes_these_names(tmp_path):
    """The layout rules of the client, for every kind of name that is made here."""
    from dandi.files import dandi_file

    for name in ("sub-1_ses-a_behavior+ecephys.nwb", "sub-Han_desc-train_ophys.nwb"):
        path = tmp_path / upload_path(None, name)
        path.parent.mkdir()
        shutil.copy(recording(tmp_path / "s.nwb"), path)
        write_yaml(tmp_path, "000999")
        assert not [r.id for r in dandi_file(path, dandiset_path=tmp_path).get_validation_errors() if "NON_DANDI" in r.id]


@pytest.fixture
def fitted(dandi, tmp_path, monkeypatch, capsys):
    """The result of a tiny fit of the embargoed asset, as the command leaves it."""
    monkeypatch.setenv(token_variable(instance_of(None)[0]), TOKEN)
    monkeypatch.chdir(tmp_path)
    assert main(["fit", EMBARGOED, *QUICK, "--folder", "derived", "--dandiset", "000004"]) == 0
    return tmp_path / "derived" / "sub-s" / "sub-s_desc-lowrank_ecephys.nwb", "".join(capsys.readouterr())


def test_a_fit_of_an_address_is_named_recorded_clean_and_without_secrets(dandi, fitted):
    path, told = fitted
    origin = nl.read_results(path).trials.origin
    asset = find_asset(EMBARGOED)
    assert origin["dandi"] == asset.origin()["dandi"] and origin["path"] == asset.url
    assert find_asset(origin["path"]).asset_id == asset.asset_id
    found = findings(path)
    assert not found.new, found.text()
    for file in Path(path).parents[2].rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert TOKEN.encode() not in content and b"SIGNED-1" not in content, file
    assert TOKEN not in told and "SIGNED-1" not in told


def test_findings_of_the_source_are_told_apart(tmp_path):
    """A source that never says its spikes' resolution; and a derived file that loses its subject on top."""
    source = recording(tmp_path / "session.nwb")
    with NWBHDF5IO(source, "r+") as io:
        io._file["units/spike_times"].attrs.pop("resolution", None)
    copy = tmp_path / "copy.nwb"
    shutil.copy(source, copy)
    with NWBHDF5IO(copy, "r+") as io:
        del io._file["general/subject"]
    found = findings(copy, source)
    assert {f.check for f in found.inherited} == {"check_units_resolution_is_set"}
    assert any("subject" in f.check for f in found.new) and "new: " in found.text()
    assert main(["dandi", "validate", str(copy), "--source", str(source)]) == 1
    with pytest.raises(FileNotFoundError, match="no file"):
        findings(tmp_path / "nothing.nwb")


def test_an_upload_needs_a_target_and_a_token_and_arrives(dandi, fitted, monkeypatch, tmp_path):
    path, _ = fitted
    with pytest.raises(SystemExit):
        main(["dandi", "upload", "derived"])  # never without saying where
    api = f"{dandi.api}/api"
    with pytest.raises(ValueError, match="belongs to dandiset 000004; got 000002"):
        upload("derived", "000002", api)
    with pytest.raises(ValueError, match="six digits"):
        upload("derived", "mine", api)
    assert main(["dandi", "upload", "derived", "--to", "000004", "--instance", api]) == 0
    arrived = find_asset("DANDI:000004/draft/sub-s/sub-s_desc-lowrank_ecephys.nwb")
    assert arrived.download(progress=False).read_bytes() == path.read_bytes()
    assert find_assets("DANDI:000004/draft", "sub-s/*") and not [k for k in os.environ if re.match(r"\d.*_API_KEY", k)]
    monkeypatch.delenv(token_variable(instance_of(None)[0]))
    with pytest.raises(PermissionError, match="needs a token"):
        upload("derived", "000004", api)
    with pytest.raises(FileNotFoundError, match="no sub-"):
        upload(tmp_path, "000004", api)


def test_ls_and_download_commands(dandi, capsys):
    assert main(["dandi", "download", "000001/draft", "--glob", "sub-1/*"]) == 0
    assert main(["dandi", "ls", "000001/draft"]) == 0
    listed = capsys.readouterr().out
    assert re.search(r"dandiset 000001, version draft: \d assets", listed)
    lines = {line.split()[0]: line for line in listed.splitlines() if line.startswith("  sub-")}
    assert "cached" in lines["sub-1/sub-1_ses-a_behavior+ecephys.nwb"] and "Units" in lines["sub-2/sub-2_ses-a_behavior+ecephys.nwb"]
    assert "cached" not in lines["sub-2/sub-2_ses-a_behavior+ecephys.nwb"]
    assert main(["info", "DANDI:000001/draft/sub-1/"]) == 0 and "suggested fit" in capsys.readouterr().out
    assert main(["dandi", "ls", "000777"]) == 2 and "(404)" in capsys.readouterr().err


def test_a_streamed_fit_stands_alone_and_nothing_was_downloaded(dandi, tmp_path, monkeypatch, capsys):
    """The sidecar of a streamed fit equals the fit of the downloaded file, number for number."""
    address, words = "DANDI:000001/draft/sub-2/", [*QUICK, "--behavior", "hand", "--folder"]
    assert main(["fit", address, *words, str(tmp_path / "streamed"), "--stream"]) == 0
    assert not cache_folder().exists()
    assert main(["fit", address, *words, str(tmp_path / "whole")]) == 0
    name = "sub-2/sub-2_ses-a_desc-lowrank_behavior+ecephys.nwb"
    streamed, whole = (nl.read_results(tmp_path / kind / name) for kind in ("streamed", "whole"))
    assert streamed.scores == whole.scores and np.array_equal(streamed.posterior.rates, whole.posterior.rates)
    assert np.array_equal(streamed.trials.counts, whole.trials.counts)
    assert streamed.trials.origin["dandi"] == whole.trials.origin["dandi"] and streamed.trials.origin["path"] == whole.trials.origin["path"]
    assert not findings(tmp_path / "streamed" / name).new
    assert main(["fit", str(tmp_path / "whole" / name), *QUICK, "--stream"]) == 2 and "--stream is for" in capsys.readouterr().err
