"""Sidecars: results that stand alone beside a recording that cannot be copied."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pynwb
import pytest

from nwb_lowrank.sinks.nwb import check_output, list_runs, read_results, write_nwb
from nwb_lowrank.sources.nwb import read_nwb
from nwb_lowrank.trials import Trials

from .conftest import CUTS, assert_same, assert_same_trials, complete, new_findings, record, untrained


def test_a_sidecar_stands_alone(source, results, tmp_path):
    """Nothing but the sidecar is at hand, and everything comes back to the last bit: trials, behaviour and table too."""
    gone = shutil.copy(source, tmp_path / "gone.nwb")
    path = write_nwb(gone, results, output=tmp_path / "side.nwb", sidecar=True)
    (tmp_path / "gone.nwb").unlink()
    assert_same(read_results(path), results)
    assert path.stat().st_size < 2_000_000
    assert pynwb.validate(path=str(path)) == []
    assert new_findings(path, source) == set()
    with pynwb.NWBHDF5IO(path, "r") as io:
        nwb = io.read()
        assert nwb.units is None and nwb.trials is None and nwb.identifier == results.trials.origin["identifier"] + "-lowrank"
        assert nwb.subject.subject_id == "simulated" and nwb.subject.age == "P1Y"


def test_a_sidecar_and_its_source_give_the_same_trials(source, results, tmp_path):
    path = write_nwb(source, results, output=tmp_path / "side.nwb", sidecar=True)
    assert_same(read_results(path, source=source), results)
    with pytest.raises(ValueError, match="that was fitted; got"):
        read_results(path, source=record(tmp_path / "another.nwb", seed=1))


@pytest.mark.parametrize("cut", ["padded", "overlapping", "chunks"])
def test_every_way_to_cut_comes_back_from_a_sidecar(source, tmp_path, cut):
    trials = read_nwb(source, bin_width=0.03, behavior="hand", **CUTS[cut]).hide([0])
    known = trials.behavior_mask & (np.arange(trials.bins) != 3)
    trials = dataclasses.replace(
        trials, behavior_mask=known, mask=trials.mask & (np.arange(trials.neurons) != np.arange(trials.bins)[:, None])
    )
    results = complete(untrained(trials), trials)
    assert_same(read_results(write_nwb(source, results, output=tmp_path / "side.nwb", sidecar=True)), results)


def test_arrays_that_never_were_a_file_go_into_a_sidecar(tmp_path):
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {"a.b": ["x", "y", None, "x", "y"], "n": range(5), "flag": [True, False] * 2 + [True], "t": [0.1, np.nan, 3e-20, 1 / 3, 5]}
    )
    for counts in (random.poisson(300.0, (5, 30, 4)), random.normal(size=(5, 30, 4))):
        trials = Trials.from_arrays(counts, bin_width=0.1, table=table)
        results = complete(untrained(trials), trials)
        path = write_nwb(None, results, output=tmp_path / "side.nwb", sidecar=True, overwrite=True)
        again = read_results(path)
        assert_same_trials(again.trials, trials)
        assert np.allclose(again.posterior.rates, results.posterior.rates, rtol=1e-6)
        assert pynwb.validate(path=str(path)) == []


def test_runs_stand_side_by_side_in_a_sidecar(source, results, tmp_path):
    path = write_nwb(source, results, output=tmp_path / "side.nwb", sidecar=True)
    assert write_nwb(source, results, output=path, sidecar=True, run="fit1") == path
    assert list_runs(path) == ["fit0", "fit1"]
    assert_same(read_results(path, "fit0"), results)
    with pytest.raises(ValueError, match="already has a run 'fit1'"):
        check_output(source, path, sidecar=True, run="fit1")
    trials = read_nwb(record(tmp_path / "other.nwb", seed=1), bin_width=0.05, chunk=1.0)
    with pytest.raises(ValueError, match="is a sidecar of another recording"):
        write_nwb(tmp_path / "other.nwb", complete(untrained(trials), trials), output=path, sidecar=True, run="fit2")
    with pytest.raises(ValueError, match="does not hold a fit of"):
        write_nwb(source, results, output=path)  # a copy of the recording would replace the sidecar


def test_a_sidecar_needs_a_name(results, source):
    with pytest.raises(ValueError, match="has no name of its own. Pass output="):
        write_nwb(None, results, sidecar=True)
    with pytest.raises(ValueError, match="got sidecar=True as well"):
        write_nwb(source, results, sidecar=True, in_place=True)
