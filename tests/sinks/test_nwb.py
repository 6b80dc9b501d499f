"""write_nwb and read_results: what goes in comes out, in a file that other tools understand."""

import dataclasses
import shutil
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pynwb
import pytest
import torch
from pynwb import NWBHDF5IO, NWBFile
from pynwb.ophys import DfOverF, ImageSegmentation, OpticalChannel, RoiResponseSeries

from nwb_lowrank.infer import infer
from nwb_lowrank.metrics import evaluate
from nwb_lowrank.results import FixedPoints, Results
from nwb_lowrank.sinks._flat import flatten, unflatten
from nwb_lowrank.sinks.nwb import list_runs, read_results, write_nwb
from nwb_lowrank.sinks.recording import write_recording
from nwb_lowrank.sources.nwb import read_nwb

from .conftest import CUTS, TRIALS, assert_same, complete, new_findings, record, untrained


def test_a_fit_comes_back(results, written):
    assert_same(read_results(written), results)


@pytest.mark.parametrize("cut", CUTS)
def test_every_way_to_cut_comes_back(source, tmp_path, cut):
    trials = read_nwb(source, bin_width=0.03, behavior="hand", **CUTS[cut]).hide([0])
    results = complete(untrained(trials), trials)
    again = read_results(write_nwb(source, results, output=tmp_path / "out.nwb"))
    assert_same(again, results)
    assert evaluate(again.posterior, again.trials, again.split) == results.scores


def test_padding_is_not_written_and_the_dense_layout_only_where_needed(source, tmp_path):
    for cut, series in (("padded", True), ("overlapping", False)):
        trials = read_nwb(source, bin_width=0.03, **CUTS[cut])
        path = write_nwb(source, complete(untrained(trials), trials), output=tmp_path / f"{cut}.nwb")
        with NWBHDF5IO(path, "r") as io:
            module = io.read().processing["lowrank_rnn"]
            assert ("fit0_latents" in module.data_interfaces) == series
            assert ("latents" in module["fit0_windows"].colnames) != series
            if series:
                assert len(module["fit0_latents"].data) == trials.lengths.sum() < len(trials) * trials.bins


@pytest.mark.parametrize("rows", [[5, 1, 3], [2, 5, 8], [4, 4, 7]], ids=["unsorted", "all short", "one twice"])
def test_some_of_the_trials_come_back_in_their_order(source, tmp_path, rows):
    """The short ones alone keep the common length that forecast bins are counted from."""
    trials = read_nwb(source, bin_width=0.02).select(rows).forecast_last(1)
    fitted = untrained(trials)
    results = Results(fitted, trials, infer(fitted, trials, particles=3, draws=2, device="cpu"), ["train", "test", "test"])
    assert_same(read_results(write_nwb(source, results, output=tmp_path / "out.nwb")), results)


def test_windows_that_start_together_are_told_apart(tmp_path):
    source = write_recording(
        tmp_path / "nested.nwb",
        spike_times=[np.arange(0.01, 5, 0.05), np.arange(0.02, 5, 0.03)],
        trials=pd.DataFrame(dict(start_time=[1.0, 1.0, 3.0], stop_time=[1.5, 2.0, 3.5], label=["short", "long", "late"])),
    )
    trials = read_nwb(source, bin_width=0.1)
    results = complete(untrained(trials), trials)
    assert_same(read_results(write_nwb(source, results)), results)


def test_fewer_bins_than_neurons_come_back(tmp_path):
    """As one series they would look transposed, which the inspector calls critical."""
    source = record(tmp_path / "wide.nwb", neurons=40, count=3)
    trials = read_nwb(source, bin_width=0.05, **CUTS["aligned"])
    assert len(trials) * trials.bins < trials.neurons
    results = complete(untrained(trials), trials)
    path = write_nwb(source, results)
    assert_same(read_results(path), results)
    assert new_findings(path, source) == set()


def test_calcium_inputs_and_double_precision_come_back(source, tmp_path):
    calcium = tmp_path / "calcium.nwb"
    write_calcium(calcium)
    trials = read_nwb(calcium, chunk=1.0)
    results = complete(untrained(trials), trials)
    path = write_nwb(calcium, results)
    assert_same(read_results(path), results)
    assert new_findings(path, calcium) == set()

    trials = read_nwb(source, bin_width=0.02)  # padded: inputs go on in the padding, where they move the smoother's draws
    inputs = np.random.default_rng(0).normal(size=(*trials.counts.shape[:2], 3)).astype(np.float32)
    trials = dataclasses.replace(trials, inputs=inputs)
    results = complete(untrained(trials, inputs=3), trials)
    again = read_results(write_nwb(source, results, output=tmp_path / "inputs.nwb"))
    assert_same(again, results)
    assert_infers_the_same(again)

    results = complete(untrained(trials, inputs=3, double=True), trials)
    again = read_results(write_nwb(source, results, output=tmp_path / "double.nwb"))
    assert again.fit.model.m.dtype == torch.float64
    assert_same(again, results)


def write_calcium(path):
    """130 frames of three ROIs at 20 Hz."""
    nwb = NWBFile("calcium", "calcium-1", datetime(2020, 1, 1, tzinfo=timezone.utc))
    plane = nwb.create_imaging_plane(
        name="plane", optical_channel=OpticalChannel(name="c", description="c", emission_lambda=500.0), description="p",
        device=nwb.create_device("scope"), excitation_lambda=400.0, indicator="i", location="HVC", imaging_rate=20.0,
    )  # fmt: skip
    module = nwb.create_processing_module("ophys", "ophys")
    module.add(segmentations := ImageSegmentation())
    rois = segmentations.create_plane_segmentation(name="PlaneSegmentation", description="s", imaging_plane=plane)
    for row in range(3):
        rois.add_roi(pixel_mask=[(row, 1, 1.0)])
    values = np.random.default_rng(0).normal(size=(130, 3))
    region = rois.create_roi_table_region(description="rois", region=[0, 1, 2])
    module.add(DfOverF(RoiResponseSeries(name="RoiResponseSeries", data=values, rois=region, unit="n.a.", rate=20.0)))
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)


def test_results_without_fixed_points_scores_or_history_come_back(source, tmp_path):
    trials = read_nwb(source, bin_width=0.05, **CUTS["aligned"])
    fitted = dataclasses.replace(untrained(trials), history=pd.DataFrame())
    posterior = infer(fitted, trials, particles=3, draws=2, device="cpu")
    none = np.zeros((0, 2))
    empty = FixedPoints(none, none[:, 0], np.zeros((0, 2, 2)), none.astype(complex), none[:, 0].astype(bool), True, {"reason": "x"})
    for number, points in enumerate((None, empty)):
        results = Results(fitted, trials, posterior, np.full(len(trials), "train"), points)
        assert_same(read_results(write_nwb(source, results, output=tmp_path / f"{number}.nwb")), results)


def assert_infers_the_same(again):
    """The file's model, trials and settings give the file's posterior, to the last bit."""
    posterior = infer(again.fit, again.trials, device="cpu", **again.posterior.settings)
    recorded = np.arange(again.trials.bins) < again.trials.lengths[:, None]
    for name in ("latents", "latents_sd", "rates"):
        np.testing.assert_array_equal(getattr(posterior, name)[recorded], getattr(again.posterior, name)[recorded], err_msg=name)
    np.testing.assert_array_equal(posterior.log_evidence, again.posterior.log_evidence)


@pytest.mark.parametrize("cut", ["padded", "overlapping"])
def test_the_file_alone_infers_the_same_numbers(tmp_path, cut):
    """No other file: the source is gone, and the written file has moved."""
    source = record(tmp_path / "gone.nwb")
    trials = read_nwb(source, bin_width=0.02, **CUTS[cut]).hide([1]).forecast_last(1)
    write_nwb(source, complete(untrained(trials), trials), output=tmp_path / "out.nwb")
    source.unlink()
    moved = shutil.move(tmp_path / "out.nwb", tmp_path / "elsewhere.nwb")
    assert_infers_the_same(read_results(moved))


def test_an_open_file_and_a_file_like_object_are_read_as_well(results, written):
    with NWBHDF5IO(written, "r") as io:
        nwb = io.read()
        assert list_runs(nwb) == ["fit0"]
        assert_same(read_results(nwb), results)
    with open(written, "rb") as file:
        assert_same(read_results(file), results)


# What others see in the file.


def test_the_layout_is_what_other_tools_expect(results, written):
    trials, posterior = results.trials, results.posterior
    state = results.fit.state()
    with NWBHDF5IO(written, "r") as io:
        nwb = io.read()
        module = nwb.processing["lowrank_rnn"]
        names = ("latents", "latents_sd", "rates", "ess", "windows", "readout", "network", "weights", "metrics", "training", "settings")
        assert {f"fit0_{name}" for name in names} <= set(module.data_interfaces)
        rates, windows, readout = (module[f"fit0_{name}"] for name in ("rates", "windows", "readout"))
        np.testing.assert_allclose(rates.data[:], posterior.rates.reshape(-1, trials.neurons).astype(float) / 0.02, rtol=1e-12)
        assert rates.unit == "Hz"
        np.testing.assert_array_equal(rates.timestamps[:], trials.times.ravel())
        for row, (reference,) in enumerate(windows["timeseries"][:]):  # the span of every window holds its latents
            np.testing.assert_array_equal(reference.data, posterior.latents[row])
        # the first trial has no cue: window and trial numbers differ by one
        np.testing.assert_array_equal(windows["trial"].data[:], np.arange(1, TRIALS))
        assert [nwb.units.id[row] for row in readout["unit"].data[:]] == list(trials.unit_ids) == list(readout["unit_id"].data[:])
        np.testing.assert_array_equal(readout["loadings"].data[:], state["model.observation.readout.loadings"])
        np.testing.assert_array_equal(readout["held_out"].data[:], trials.held_out)
        np.testing.assert_array_equal(module["fit0_network"]["n"].data[:], state["model.n"].T)
        assert not any(name.endswith("_times") for table in module.data_interfaces.values() for name in getattr(table, "colnames", ()))
        assert ["nwb_lowrank", "0.1.0"] in [list(row) for row in nwb.was_generated_by]


def test_chunks_belong_to_no_trial(source, tmp_path):
    trials = read_nwb(source, bin_width=0.05, **CUTS["chunks"])
    path = write_nwb(source, complete(untrained(trials), trials), output=tmp_path / "out.nwb")
    with NWBHDF5IO(path, "r") as io:
        assert set(io.read().processing["lowrank_rnn"]["fit0_windows"]["trial"].data[:]) == {-1}


def test_the_written_file_is_valid_and_inspector_clean(source, tmp_path):
    """Also with dropped trials, whose list of reasons must not become JSON objects in a cell."""
    trials = read_nwb(source, bin_width=0.02, **CUTS["aligned"])
    assert trials.origin["dropped"]
    path = write_nwb(source, complete(untrained(trials), trials), output=tmp_path / "out.nwb")
    assert pynwb.validate(path=str(path)) == []
    assert new_findings(path, source) == set()


def test_nested_settings_come_back_from_rows_without_objects():
    nested = {"a": {"b": [1, 2.5, None], "c": {}}, "d": [{"e": "x"}, {"e": [], "f": {"g": True}}], "h": [], "i": "text", "j": [[1], [2]]}
    rows = flatten(nested)
    assert unflatten(rows) == nested
    assert all(":" not in value for value in rows.values())
    assert unflatten(flatten({"x": np.float32(0.1), "y": np.arange(2)})) == {"x": float(np.float32(0.1)), "y": [0, 1]}


@pytest.mark.parametrize("name", ["chewie_center_out", "mc_maze_two_trials", "songbird_hvc_calcium"])
def test_real_recordings_come_back(shared_data, tmp_path, name):
    source = Path(shutil.copy(shared_data / "nwb" / f"{name}.nwb", tmp_path / f"{name}.nwb"))
    trials = read_nwb(source, bin_width=None if "calcium" in name else 0.1).select(slice(0, 2))
    fitted = untrained(trials)
    results = Results(fitted, trials, infer(fitted, trials, particles=3, draws=2, device="cpu"), ["train", "test"])
    path = write_nwb(source, results)
    assert_same(read_results(path), results)
    assert pynwb.validate(path=str(path)) == pynwb.validate(path=str(source))
    assert new_findings(path, source) == set()
