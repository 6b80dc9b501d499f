"""`make demo` in small: the whole job, its files, and the truth beside the answers."""

import contextlib
import io

import numpy as np
import pynwb
import pytest

import nwb_lowrank as nl
from nwb_lowrank.cli import main


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that it leaves, and what it printed."""
    folder, out = tmp_path_factory.mktemp("demo") / "output", io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(["demo", "--quick", "--output", str(folder)]) == 0
    return folder, out.getvalue()


def test_it_leaves_the_recording_the_fit_and_the_figure(demo):
    folder, _ = demo
    assert {path.name for path in folder.iterdir()} == {"recording.nwb", "recording_lowrank.nwb", "recording_lowrank.png"}
    assert (folder / "recording_lowrank.png").read_bytes().startswith(b"\x89PNG")


def test_both_files_are_valid_nwb(demo):
    for name in ("recording.nwb", "recording_lowrank.nwb"):
        assert [str(error) for error in pynwb.validate(path=str(demo[0] / name))] == []


def test_the_recording_is_genuine(demo):
    found = nl.inventory(demo[0] / "recording.nwb")
    assert len(found.units) == 40 and "trials" in found.tables and len(found.behavior) == 1
    with pynwb.NWBHDF5IO(demo[0] / "recording.nwb", "r") as file:
        nwb = file.read()
        assert len(nwb.electrodes) > 0 and len(nwb.trials) == 160


def test_the_fit_in_the_file_is_finite_scored_and_certified(demo):
    """A tenth of the training need not find the teacher's portrait; whatever it finds is proved complete."""
    results = nl.read_results(demo[0] / "recording_lowrank.nwb")
    assert results.fixed_points.complete and results.fixed_points.certificate["degree_sum"] == 1
    assert {score.metric: score.value for score in results.scores}["co-bps"] > 0
    assert np.isfinite(results.posterior.latents).all()


def test_it_says_what_it_did_and_where_things_are(demo):
    folder, out = demo
    for name in ("recording.nwb", "recording_lowrank.nwb", "recording_lowrank.png"):
        assert str(folder / name) in out
    for words in ("best possible", "of the teacher", "nwb-lowrank fit"):
        assert words in out
