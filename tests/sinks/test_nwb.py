"""Results in NWB: everything comes back, nothing is damaged, the file is valid."""

import dataclasses
import hashlib
import os
import subprocess

import numpy as np
import pynwb
import pytest
from pynwb import NWBHDF5IO

import nwb_lowrank as nl
from nwb_lowrank.sinks import nwb as sink
from nwb_lowrank.sinks.nwb import check_output, default_output

from .conftest import assert_same, results_of


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_everything_comes_back_and_the_source_stays(recording, results):
    before = digest(recording)
    path = nl.write_nwb(recording, results)
    assert path == recording.with_name("session_lowrank.nwb") and digest(recording) == before
    assert_same(nl.read_results(path), results)
    assert sorted(p.name for p in recording.parent.iterdir()) == ["session.nwb", "session_lowrank.nwb"]


def test_the_file_alone_reproduces_infer(recording, results):
    again = nl.read_results(nl.write_nwb(recording, results))
    recording.unlink()
    posterior = nl.infer(again.fit, again.trials, **again.posterior.settings, device="cpu")
    for name in ("latents", "latents_sd", "rates", "log_evidence"):
        assert np.array_equal(getattr(posterior, name), getattr(results.posterior, name)), name


def test_the_file_is_valid_and_shows_its_contents_without_this_package(recording, results):
    path = nl.write_nwb(recording, results)
    assert pynwb.validate(path=str(path)) == []
    with NWBHDF5IO(path, "r") as io:
        nwb = io.read()
        module = nwb.processing["lowrank_rnn"]
        rates, windows = module["fit0_rates"], module["fit0_windows"]
        assert rates.unit == "Hz" and rates.timestamps is not None
        assert np.allclose(rates.data[:15], results.posterior.rates[0] / 0.02)
        assert np.allclose(rates.timestamps[:15], results.trials.times[0])
        assert windows["timeseries"][1].idx_start == 15 and windows["timeseries"][1].count == 15
        assert list(module["fit0_readout"]["unit"].data[:]) == list(range(12))
        software = [list(row) for row in nwb.was_generated_by[:]]
        assert ["nwb_lowrank", nl.__version__] in software


def test_the_inspector_finds_nothing_new(recording, results):
    inspector = pytest.importorskip("nwbinspector")

    def serious(path):
        found = inspector.inspect_nwbfile(nwbfile_path=str(path))
        return {(m.check_function_name, m.object_name) for m in found if m.importance.name != "BEST_PRACTICE_SUGGESTION"}

    assert serious(nl.write_nwb(recording, results)) == serious(recording) == set()


def test_runs_are_added_refused_and_replaced_by_choice(recording, results):
    path = nl.write_nwb(recording, results)
    with pytest.raises(ValueError, match="already has a run 'fit0'.*overwrite=True"):
        nl.write_nwb(recording, results)
    other = dataclasses.replace(results, scores=())
    assert nl.write_nwb(recording, other, run="fit0_b") == path
    assert nl.list_runs(path) == ["fit0", "fit0_b"]
    with pytest.raises(KeyError, match="holds the runs fit0, fit0_b. Pass run="):
        nl.read_results(path)
    with pytest.raises(KeyError, match="no run 'x'"):
        nl.read_results(path, "x")
    size = path.stat().st_size
    nl.write_nwb(recording, other, overwrite=True)
    assert nl.list_runs(path) == ["fit0", "fit0_b"] and path.stat().st_size <= size  # nothing leaks
    assert nl.read_results(path, "fit0").scores == ()
    assert_same(nl.read_results(path, "fit0_b"), other)
    assert pynwb.validate(path=str(path)) == []


def test_an_output_that_is_something_else_is_refused(recording, results, tmp_path):
    other = tmp_path / "notes.nwb"
    other.write_text("not NWB")
    with pytest.raises(ValueError, match="exists and does not hold a fit of"):
        nl.write_nwb(recording, results, output=other)
    assert other.read_text() == "not NWB"
    with pytest.raises(ValueError, match="is the source itself"):
        nl.write_nwb(recording, results, output=recording)
    assert_same(nl.read_results(nl.write_nwb(recording, results, output=other, overwrite=True)), results)


def test_in_place(recording, results):
    assert nl.write_nwb(recording, results, in_place=True) == recording
    assert_same(nl.read_results(recording), results)
    assert os.listdir(recording.parent) == ["session.nwb"]


def test_an_open_file_can_be_the_source_and_be_read(recording, results):
    with NWBHDF5IO(recording, "r") as io:
        path = nl.write_nwb(io.read(), results)
    with NWBHDF5IO(path, "r") as io:
        assert_same(nl.read_results(io.read()), results)


@pytest.mark.parametrize("step", ["run_objects", "_verify", "read_results"])
def test_an_error_on_the_way_changes_nothing(step, recording, results, monkeypatch):
    path = nl.write_nwb(recording, results)
    before, listing = digest(path), sorted(os.listdir(path.parent))

    def fail(*arguments, **options):
        raise RuntimeError("power cut")

    monkeypatch.setattr(sink, step, fail)
    with pytest.raises(RuntimeError, match="power cut"):
        nl.write_nwb(recording, results, overwrite=True)
    assert digest(path) == before and sorted(os.listdir(path.parent)) == listing


def test_a_file_that_would_read_back_differently_is_not_written(recording, results, monkeypatch):
    broken = dataclasses.replace(results, posterior=dataclasses.replace(results.posterior, rates=results.posterior.rates + 1))
    monkeypatch.setattr(sink, "read_results", lambda *a, **k: results)
    with pytest.raises(ValueError, match="other values; nothing was written"):
        nl.write_nwb(recording, broken)
    assert os.listdir(recording.parent) == ["session.nwb"]


def test_an_invalid_file_is_not_written(recording, results, monkeypatch):
    errors = {str(recording): []}
    monkeypatch.setattr(sink.pynwb, "validate", lambda path: errors.get(path, ["missing attribute"]))
    with pytest.raises(ValueError, match="not be valid NWB.*nothing was written"):
        nl.write_nwb(recording, results)
    assert os.listdir(recording.parent) == ["session.nwb"]


def test_overlapping_and_unsorted_windows_become_dense_columns(recording):
    trials = nl.read_nwb(recording, bin_width=0.02, align="start_time", window=(-0.5, 0.3))
    results = results_of(trials.select([3, 1, 2, 0, 8, 5, 9, 4]))
    path = nl.write_nwb(recording, results)
    assert_same(nl.read_results(path), results)
    with NWBHDF5IO(path, "r") as io:
        module = io.read().processing["lowrank_rnn"]
        assert "fit0_latents" not in module.data_interfaces and module["fit0_windows"]["rates"].data.shape == results.posterior.rates.shape
    assert pynwb.validate(path=str(path)) == []


def test_padded_trials_and_gaussian_signals(make_roi_file):
    trials = nl.read_nwb(make_roi_file, chunk=1.3)
    assert len(set(trials.lengths)) == 2  # the last chunk is shorter
    results = results_of(trials, observation=nl.GaussianSignal())
    path = nl.write_nwb(make_roi_file, results)
    assert_same(nl.read_results(path), results)
    with NWBHDF5IO(path, "r") as io:  # one regular clock: a rate instead of timestamps
        assert io.read().processing["lowrank_rnn"]["fit0_latents"].rate == pytest.approx(20.0)


@pytest.fixture
def make_roi_file(tmp_path):
    from pynwb.ophys import Fluorescence, ImageSegmentation, OpticalChannel, RoiResponseSeries

    nwb = pynwb.NWBFile("calcium", "roi-1", _start())
    channel = OpticalChannel(name="green", description="green", emission_lambda=510.0)
    plane = nwb.create_imaging_plane(
        name="plane", optical_channel=channel, description="plane", device=nwb.create_device("scope"), excitation_lambda=488.0,
        indicator="GCaMP6", location="HVC",
    )  # fmt: skip
    segmentation = ImageSegmentation()
    rois = segmentation.create_plane_segmentation("cells", plane, name="cells")
    for _ in range(5):
        rois.add_roi(pixel_mask=[(0, 0, 1.0)])
    random = np.random.default_rng(0)
    data = np.cumsum(random.normal(0, 0.2, (200, 2)), 0) @ random.normal(0, 1, (2, 5)) + random.normal(0, 0.3, (200, 5))
    region = rois.create_roi_table_region("all", region=list(range(5)))
    ophys = nwb.create_processing_module("ophys", "ophys")
    ophys.add(segmentation)
    ophys.add(
        Fluorescence(roi_response_series=RoiResponseSeries(name="F", data=data, rois=region, unit="a.u.", rate=20.0, starting_time=0.0))
    )
    path = tmp_path / "calcium.nwb"
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


def _start():
    from nwb_lowrank.sinks.recording import START

    return START


def test_a_changed_recording_is_noticed(recording, results, session, tmp_path):
    path = nl.write_nwb(recording, results)
    with NWBHDF5IO(path, "r+") as io:
        io.read().trials["start_time"].data[:] += 0.37
    with pytest.raises(ValueError, match="no trial starts at .* any more.*fit again"):
        nl.read_results(path)


def test_classes_outside_the_package_are_not_imported(recording, results):
    path = nl.write_nwb(recording, results)
    with NWBHDF5IO(path, "r+") as io:
        table = io.read().processing["lowrank_rnn"]["fit0_settings"]
        row = list(table["key"].data[:]).index("fit.model.class")
        table["value"].data[row] = '"os:system"'
    with pytest.raises(ValueError, match="expected a class from nwb_lowrank"):
        nl.read_results(path)


def test_trials_from_arrays_are_sent_to_write_recording(recording):
    trials = nl.Trials.from_arrays(np.random.default_rng(0).poisson(1.0, (8, 10, 4)), bin_width=0.02)
    with pytest.raises(ValueError, match="write_recording"):
        nl.write_nwb(recording, results_of(trials))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("session.nwb", "session_lowrank.nwb"),
        ("sub-1_ses-2_behavior+ecephys.nwb", "sub-1_ses-2_desc-lowrank_behavior+ecephys.nwb"),
        ("sub-1_ses-2.nwb", "sub-1_ses-2_lowrank.nwb"),
    ],
)
def test_default_output_keeps_to_dandi_names(name, expected, tmp_path):
    assert default_output(tmp_path / name) == tmp_path / expected


@pytest.mark.parametrize("run", ["", "a b", "a__b", "a/b", "ü"])
def test_run_names_that_could_be_confused_are_refused(run, recording):
    with pytest.raises(ValueError, match="run must be letters"):
        check_output(recording, run=run)


def test_a_file_without_runs_says_so(recording):
    assert nl.list_runs(recording) == []
    with pytest.raises(KeyError, match="holds no fit of this package"):
        nl.read_results(recording)


def test_a_folder_that_cannot_be_made_is_named_and_nothing_is_left(recording):
    for output in ("/proc/none/out.nwb", recording / "out.nwb"):
        with pytest.raises(OSError, match="cannot write in .*output="):
            check_output(recording, output)
    with pytest.raises(OSError, match="is a folder"):
        check_output(recording, recording.parent)
    assert os.listdir(recording.parent) == ["session.nwb"]


def test_folders_are_made_and_left_only_with_a_file(recording, results, tmp_path, monkeypatch):
    output = tmp_path / "a" / "b" / "out.nwb"
    assert check_output(recording, output) == output and not output.parent.exists()
    with monkeypatch.context() as patch:
        patch.setattr(sink, "_export", lambda *a: (_ for _ in ()).throw(RuntimeError("stop")))
        with pytest.raises(RuntimeError):
            nl.write_nwb(recording, results, output=output)
    assert not (tmp_path / "a").exists()
    assert nl.write_nwb(recording, results, output=output).exists()


def test_a_full_disk_is_named_and_nothing_is_left(recording, results, tmp_path, monkeypatch):
    small = tmp_path / "small"
    small.mkdir()
    size = recording.stat().st_size
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={2 * size}", "tmpfs", small], capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        with pytest.raises(OSError, match="MB of free space.*Free some space"):
            check_output(recording, small / "out.nwb")
        monkeypatch.setattr(sink, "check_place", lambda *a, **k: None)  # as if it filled up during the writing
        monkeypatch.setattr("nwb_lowrank.sinks._safely.check_place", lambda *a, **k: None)
        (small / "other").write_bytes(b"0" * int(1.8 * size))
        with pytest.raises(OSError, match="the disk of .* is full; nothing was written"):
            nl.write_nwb(recording, results, output=small / "out.nwb")
        assert os.listdir(small) == ["other"]
    finally:
        subprocess.run(["umount", small], check=True)
