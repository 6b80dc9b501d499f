"""Spikes from spikeinterface: segments, clocks, properties and quality metrics, folders."""

import numpy as np
import pandas as pd
import pytest

from nwb_lowrank.sources.sorting import read_sorting

core = pytest.importorskip("spikeinterface.core")


def sorting(durations=(10.0, 5.0), units=5, seed=0):
    return core.generate_sorting(num_units=units, durations=list(durations), seed=seed, firing_rates=20.0)


def spikes_of(one, unit, segment):
    return one.get_unit_spike_train(unit, segment) / one.get_sampling_frequency()


def naive(one, segment, edges):
    """Spikes of each unit between edges of a segment's own clock, counted one by one in samples."""
    rate = one.get_sampling_frequency()
    frames = [one.get_unit_spike_train(unit, segment) for unit in one.unit_ids]
    return np.array(
        [[sum(left <= frame / rate + 1e-9 < right for frame in part) for part in frames] for left, right in zip(edges, edges[1:])]
    )


def test_segments_are_trials_on_one_clock():
    one = sorting()
    trials = read_sorting(one, bin_width=0.25)
    assert len(trials) == 2 and trials.table["segment"].tolist() == [0, 1]
    assert trials.starts[1] >= spikes_of(one, one.unit_ids[0], 0).max()  # they no longer overlap
    for segment, start in enumerate(trials.table["start_time"] - trials.starts[0]):
        expected = naive(one, segment, np.arange(trials.lengths[segment] + 1) * 0.25)
        assert np.array_equal(trials.counts[segment, : trials.lengths[segment]], expected)
        assert start >= 0


def test_intervals_of_ones_own_align_the_spikes():
    one = sorting(durations=[20.0])
    intervals = pd.DataFrame(dict(start_time=[1.0, 5.0, 50.0], stop_time=[3.0, 8.0, 52.0], cue=[2.0, 6.0, 51.0], side=["l", "r", "l"]))
    trials = read_sorting(one, bin_width=0.1, intervals=intervals, align="cue", window=(-0.5, 0.5))
    assert trials.table["side"].tolist() == ["l", "r"]
    assert trials.origin["dropped"] == [{"trial": 2, "reason": "outside the recording"}]
    assert np.array_equal(trials.counts[0], naive(one, 0, 1.5 + np.arange(11) * 0.1))
    chunks = read_sorting(one, bin_width=0.1, chunk=2.0)
    assert len(chunks) == 10 and chunks.unit_ids.tolist() == [0, 1, 2, 3, 4] and chunks.origin["format"] == "spikeinterface"


@pytest.fixture(scope="module")
def analyzer():
    recording, truth = core.generate_ground_truth_recording(durations=[12.0], num_units=4, num_channels=4, seed=0)
    truth.set_property("quality", np.array(["good", "mua", "good", "good"]))
    made = core.create_sorting_analyzer(truth, recording, sparse=False)
    made.compute(["random_spikes", "noise_levels", "templates"], progress_bar=False)
    made.compute("quality_metrics", metric_names=["num_spikes", "firing_rate", "snr"], progress_bar=False)
    return made


def test_quality_metrics_and_properties_choose_units(analyzer):
    snr = analyzer.get_extension("quality_metrics").get_data()["snr"].to_numpy()
    limit = np.sort(snr)[1]
    trials = read_sorting(analyzer, bin_width=0.1, chunk=2.0, units=f"snr >= {limit - 1e-9} and quality == 'good'")
    assert trials.unit_ids.tolist() == [unit for unit in range(4) if snr[unit] >= limit and unit != 1]
    assert len(read_sorting(analyzer, bin_width=0.1, chunk=2.0)) == 6  # the recording's 12 s, whatever the last spike
    assert read_sorting(analyzer, bin_width=0.1, chunk=2.0, units="rate > 0 and presence > 0").neurons >= 2


def test_folders_are_loaded_by_spikeinterface(tmp_path):
    one = sorting(durations=[6.0])
    one.save(folder=tmp_path / "saved")
    direct, loaded = read_sorting(one, bin_width=0.1, chunk=1.0), read_sorting(tmp_path / "saved", bin_width=0.1, chunk=1.0)
    assert np.array_equal(direct.counts, loaded.counts) and loaded.origin["path"] == str(tmp_path / "saved")
    assert direct.origin["identifier"] == loaded.origin["identifier"]
    one.save(folder=tmp_path / "saved.zarr", format="zarr")
    assert np.array_equal(read_sorting(tmp_path / "saved.zarr", bin_width=0.1, chunk=1.0).counts, direct.counts)
    (tmp_path / "saved" / "spikes.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="read_sorting: spikeinterface cannot load '.*saved'"):
        read_sorting(tmp_path / "saved", bin_width=0.1, chunk=1.0)


def test_phy_folders_with_their_labels(tmp_path):
    """What Kilosort leaves behind and Phy writes into: names as whole numbers, groups as text."""
    one = sorting(durations=[6.0], units=3)
    vector, ids = one.to_spike_vector(), np.array([4, 9, 2])
    np.save(tmp_path / "spike_times.npy", vector["sample_index"][:, None])
    np.save(tmp_path / "spike_clusters.npy", ids[vector["unit_index"]][:, None])
    np.save(tmp_path / "spike_templates.npy", ids[vector["unit_index"]][:, None])
    (tmp_path / "params.py").write_text(
        f"dat_path='x.bin'\nn_channels_dat=4\ndtype='int16'\noffset=0\nsample_rate={one.sampling_frequency}\n"
    )
    pd.DataFrame(dict(cluster_id=[2, 4, 9], group=["good", "good", "mua"])).to_csv(tmp_path / "cluster_group.tsv", sep="\t", index=False)
    trials = read_sorting(tmp_path, bin_width=0.1, chunk=1.0, units="quality == 'good'")
    assert trials.unit_ids.tolist() == [2, 4]
    expected = naive(one, 0, np.arange(trials.lengths[0] + 1) * 0.1)[:, [2, 0]]
    assert np.array_equal(trials.counts[0, : trials.lengths[0]], expected)


def test_refusals_speak_of_the_function_that_was_called(tmp_path):
    one = sorting()
    cases = [
        (dict(sorting=3), TypeError, "read_sorting: expected a sorting"),
        (dict(sorting=tmp_path / "none"), FileNotFoundError, "no folder"),
        (dict(sorting=tmp_path), ValueError, "read_sorting: expected a folder that spikeinterface, Phy or Kilosort wrote"),
        (dict(sorting=one, units="quality == 'good'"), ValueError, "read_sorting: cannot use the units query.*Columns of units: id, unit"),
        (dict(sorting=one, table="trials"), KeyError, "read_sorting: no interval table 'trials'"),
        (dict(sorting=one, intervals=pd.DataFrame(dict(start=[1.0]))), ValueError, "start_time is missing"),
    ]
    for how, kind, message in cases:
        with pytest.raises(kind, match=message):
            read_sorting(**dict(bin_width=0.1) | how)
