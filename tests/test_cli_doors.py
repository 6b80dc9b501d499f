"""The command line at the other doors: sidecars, backups, folders of sorted spikes, calcium options."""

import numpy as np
import pandas as pd
import pytest

import nwb_lowrank as nl
from nwb_lowrank.cli import main
from nwb_lowrank.sinks.recording import write_recording

QUICK = ["--warm-rounds", "1", "--steps", "2", "--particles", "3", "--hidden", "4", "--rank", "1", "--test", "0.3"]


def record(path):
    random = np.random.default_rng(0)
    starts = 1.0 + 2.0 * np.arange(10)
    return write_recording(
        path,
        spike_times=[np.sort(random.uniform(0.5, 21, 80)) for _ in range(5)],
        trials=pd.DataFrame(dict(start_time=starts, stop_time=starts + 1.0)),
    )


def test_a_sidecar_is_evaluated_without_its_source(tmp_path, capsys):
    source = record(tmp_path / "session.nwb")
    side = tmp_path / "elsewhere" / "side.nwb"
    assert main(["fit", str(source), "--bin", "0.1", *QUICK, "--sidecar", "--output", str(side)]) == 0
    source.unlink()
    capsys.readouterr()
    assert main(["evaluate", str(side)]) == 0 and "co-bps" in capsys.readouterr().out
    assert main(["results", str(side)]) == 0 and "sidecar" in capsys.readouterr().out


def test_in_place_with_a_backup(tmp_path):
    source = record(tmp_path / "session.nwb")
    before = source.read_bytes()
    assert main(["fit", str(source), "--bin", "0.1", *QUICK, "--in-place", "--backup"]) == 0
    assert (tmp_path / "session.nwb.bak").read_bytes() == before and nl.list_runs(source) == ["fit0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["session.nwb", "session.nwb.bak"]


def test_a_folder_of_sorted_spikes_is_fitted(tmp_path, capsys):
    core = pytest.importorskip("spikeinterface.core")
    core.generate_sorting(num_units=5, durations=[20.0], seed=0, firing_rates=20.0).save(folder=tmp_path / "sorted")
    capsys.readouterr()
    assert main(["fit", str(tmp_path / "sorted"), "--bin", "0.1", "--chunk", "2", "--behavior", "hand", *QUICK]) == 2
    assert "a sorting has spikes only; got --behavior" in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "sorted"), "--bin", "0.1", "--chunk", "2", *QUICK]) == 0
    results = nl.read_results(tmp_path / "sorted_lowrank.nwb")
    trials = nl.read_sorting(tmp_path / "sorted", bin_width=0.1, chunk=2.0)
    assert np.array_equal(results.trials.counts, trials.counts) and results.trials.origin["format"] == "spikeinterface"
