"""Fluorescence: neuropil, baselines, ROIs without a signal, and files with one series a neuron."""

import json

import numpy as np
import pytest
from pynwb import TimeSeries
from pynwb.ecephys import ElectricalSeries
from pynwb.ophys import Fluorescence

from nwb_lowrank.sources._signal import running_percentile
from nwb_lowrank.sources.nwb import read_nwb

RATE = 30.0


def traces(frames=600, seed=0):
    return np.random.default_rng(seed).normal(size=(frames, 4))


def test_rois_without_a_signal_are_left_out_and_reported(make_calcium):
    values = traces()
    values[:, 1], values[:, 2] = np.nan, 3.0
    trials = read_nwb(make_calcium(dict(raw=(values, dict(rate=RATE))), roi_ids=[10, 20, 30, 40]), chunk=1.0)
    assert trials.unit_ids.tolist() == [10, 40]
    assert trials.origin["dropped_rois"] == [{"roi": 20, "reason": "never finite"}, {"roi": 30, "reason": "constant"}]
    with pytest.raises(ValueError, match="no ROI of 'ophys/Fluorescence/raw' carries a signal .the first is constant"):
        read_nwb(make_calcium(dict(raw=(np.ones((600, 4)), dict(rate=RATE)))), chunk=1.0)


def test_neuropil_is_subtracted_from_its_own_roi(make_calcium, write):
    """The neuropil's columns stand in another order; rows of the ROI table say which is whose."""
    cells, around = traces() + 10, traces(seed=1)
    nwb = make_calcium(dict(raw=(cells, dict(rate=RATE))), roi_ids=[10, 20, 30, 40])
    plane = nwb.processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
    region = plane.create_roi_table_region(description="rois", region=[3, 1, 0, 2])
    holder = nwb.processing["ophys"]["Fluorescence"]
    holder.create_roi_response_series(name="neuropil", data=around[:, [3, 1, 0, 2]], rois=region, unit="a.u.", rate=RATE)
    path = write(nwb)
    trials = read_nwb(path, chunk=1.0, signal="raw", neuropil="neuropil", neuropil_weight=0.6)
    assert np.allclose(trials.counts.reshape(600, 4), cells - 0.6 * around, atol=1e-5)
    cut = json.loads(json.dumps(trials.origin["cut"]))
    assert cut["neuropil"] == "ophys/Fluorescence/neuropil" and cut["neuropil_weight"] == 0.6
    assert np.array_equal(read_nwb(path, **cut).counts, trials.counts)


def test_a_series_goes_by_the_name_of_its_container_too(make_calcium):
    """Pipelines call every series RoiResponseSeries; its container says what it is."""
    nwb = make_calcium(dict(RoiResponseSeries=(traces() + 10, dict(rate=RATE))))
    plane = nwb.processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
    nwb.processing["ophys"].add(around := Fluorescence(name="Neuropil"))
    region = plane.create_roi_table_region(description="rois", region=[0, 1, 2, 3])
    around.create_roi_response_series(name="RoiResponseSeries", data=traces(seed=1), rois=region, unit="a.u.", rate=RATE)
    cut = read_nwb(nwb, chunk=1.0, signal="Fluorescence", neuropil="Neuropil").origin["cut"]
    assert (cut["signal"], cut["neuropil"]) == ("ophys/Fluorescence/RoiResponseSeries", "ophys/Neuropil/RoiResponseSeries")
    with pytest.raises(ValueError, match="'RoiResponseSeries' is ambiguous"):
        read_nwb(nwb, chunk=1.0, signal="RoiResponseSeries")


def naive_percentile(times, values, seconds, percentile):
    return np.array([np.nanpercentile(values[np.abs(times - t) <= seconds / 2 + 1e-9], percentile) for t in times])


def test_the_running_percentile_is_that_of_a_loop_at_its_knots():
    """Also with NaN, across a gap and at the ends; between the knots, an eighth of a window apart, it is linear."""
    times = np.arange(400) * 0.1
    times[200:] += 7.0
    values = np.random.default_rng(0).gamma(2.0, size=(400, 1)) + times[:, None]
    values[50:70] = np.nan
    got, expected = running_percentile(times, values, 8.0, 20.0)[:, 0], naive_percentile(times, values[:, 0], 8.0, 20.0)
    knots = np.isin(np.round(times, 6), np.round(times[0] + np.arange(60), 6))
    assert knots.sum() > 35 and np.allclose(got[knots], expected[knots], rtol=0, atol=1e-9)
    assert np.abs(got - expected).max() < 0.8  # the baseline rises by 1 a second: less than one knot's worth


def test_df_over_f_of_a_known_baseline(make_calcium):
    """Transients on a slowly bleaching baseline come back as transients; the 10th percentile is the baseline itself."""
    times = np.arange(3000) / RATE
    baseline = 50 * np.exp(-times / 300)[:, None] * np.array([1.0, 2.0, 0.5, 4.0])
    events = np.random.default_rng(1).random((3000, 4)) < 0.02
    dff = np.array([np.convolve(event, np.exp(-np.arange(30) / 8), "full")[:3000] for event in events.T]).T
    trials = read_nwb(make_calcium(dict(raw=(baseline * (1 + dff), dict(rate=RATE)))), chunk=1.0, dff=20.0)
    assert np.abs(trials.counts.reshape(3000, 4) - dff).max() < 0.03 * (1 + dff.max())  # it falls by 3 % in half a window
    assert trials.origin["signal_unit"] == "n.a." and trials.origin["cut"]["dff"] == 20.0


def test_df_over_f_needs_a_positive_baseline(make_calcium):
    values = traces() + np.array([10.0, 0.0, 10.0, 10.0])
    trials = read_nwb(make_calcium(dict(raw=(values, dict(rate=RATE)))), chunk=1.0, dff=10.0)
    assert trials.unit_ids.tolist() == [0, 2, 3]
    assert trials.origin["dropped_rois"] == [{"roi": 1, "reason": "baseline not positive"}]
    with pytest.raises(ValueError, match="positive baseline.*leave dff= out"):
        read_nwb(make_calcium(dict(raw=(traces(), dict(rate=RATE)))), chunk=1.0, dff=10.0)


def test_corrections_are_for_fluorescence(make_calcium, make_nwb):
    nwb = make_calcium(dict(raw=(traces(), dict(rate=RATE)), late=(traces(), dict(rate=RATE, starting_time=5.0))))
    cases = [
        (dict(dff=-1.0), "dff must be the baseline's window"),
        (dict(dff_percentile=101), "dff_percentile must be from 0 to 100"),
        (dict(neuropil="late", neuropil_weight=0), "neuropil_weight must be"),
        (dict(neuropil="late"), "their times differ"),
    ]
    for how, message in cases:
        with pytest.raises(ValueError, match=message):
            read_nwb(nwb, chunk=1.0, signal="raw", **how)
    with pytest.raises(KeyError, match="no ROI response series 'x'"):
        read_nwb(nwb, chunk=1.0, signal="raw", neuropil="x")
    with pytest.raises(ValueError, match="are for fluorescence"):
        read_nwb(make_nwb([[1.0], [2.0]]), bin_width=0.1, dff=1.0)


def test_one_series_a_neuron(make_nwb, write):
    values = traces()
    nwb = make_nwb()
    module = nwb.create_processing_module("ophys", "traces")
    for neuron in (10, 2, 0, 1):  # 10 comes after 2, as numbers do
        module.add(TimeSeries(name=f"neuron_{neuron}", data=values[:, min(neuron, 3)], unit="dF/F", rate=RATE))
    nwb.add_acquisition(TimeSeries(name="speed", data=np.arange(600.0), unit="m/s", rate=RATE))
    path = write(nwb)
    trials = read_nwb(path, chunk=1.0, signal="ophys/neuron_*", behavior="speed")
    assert np.allclose(trials.counts.reshape(600, 4), values, atol=1e-6) and trials.origin["signal_unit"] == "dF/F"
    some = read_nwb(path, chunk=1.0, signal="neuron_*", units="series.str.endswith('0')")
    assert some.unit_ids.tolist() == [0, 3] and np.array_equal(read_nwb(path, **some.origin["cut"]).counts, some.counts)
    with pytest.raises(KeyError, match="no series fits 'cell_"):
        read_nwb(path, chunk=1.0, signal="cell_*")


def test_series_of_a_pattern_must_belong_together(make_nwb):
    nwb = make_nwb()
    for name, data, rate in (
        ("n_1", np.arange(90.0), 30.0),
        ("n_2", np.arange(90.0), 15.0),
        ("m_1", np.arange(90.0), 30.0),
        ("m_2", traces(90), 30.0),
    ):
        nwb.add_acquisition(TimeSeries(name=name, data=data, unit="a.u.", rate=rate))
    with pytest.raises(ValueError, match="must have the same times"):
        read_nwb(nwb, chunk=1.0, signal="n_*")
    with pytest.raises(ValueError, match="'acquisition/m_2' has 4 columns"):
        read_nwb(nwb, chunk=1.0, signal="m_*")


def test_channels_of_a_voltage_series_are_neurons_of_a_signal(make_nwb):
    """EEG or LFP: conversion, gain of every channel, and queries on the electrodes."""
    nwb = make_nwb(electrodes=["Fp1", "Fz", "Oz"])
    region = nwb.create_electrode_table_region([2, 0, 1], "channels")
    values = np.random.default_rng(0).integers(-100, 100, (320, 3)).astype(np.int16)
    nwb.add_acquisition(ElectricalSeries(name="eeg", data=values, electrodes=region, rate=160.0, conversion=1e-6,
                                         channel_conversion=np.array([1.0, 2.0, 3.0])))  # fmt: skip
    trials = read_nwb(nwb, chunk=0.5, signal="eeg", units="location != 'Fz'")
    assert trials.unit_ids.tolist() == [2, 0]
    assert np.allclose(trials.counts.reshape(320, 2), values[:, :2] * np.array([1e-6, 2e-6]), rtol=1e-6)
    with pytest.raises(KeyError, match="no ROI response series 'eeg'"):
        read_nwb(nwb, chunk=0.5, signal="eeg", neuropil="eeg")
