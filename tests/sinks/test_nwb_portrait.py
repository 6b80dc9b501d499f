"""A phase portrait goes into the file and comes back, whatever it holds."""

import dataclasses

import numpy as np
import pytest
from pynwb import NWBHDF5IO

from nwb_lowrank.dynamics.base import Branches, SlowPoints
from nwb_lowrank.dynamics.continuation import continue_fixed_points
from nwb_lowrank.dynamics.portrait import portrait
from nwb_lowrank.results import FixedPoints
from nwb_lowrank.sinks.nwb import read_results, write_nwb
from nwb_lowrank.sources.synthetic import decision_teacher
from nwb_lowrank.sources.teachers import cycle_teacher, line_teacher

from .conftest import assert_same, assert_same_points, new_findings


def assert_same_portrait(again, found):
    """Every array and number equal to the last bit."""
    if not dataclasses.is_dataclass(found):
        if isinstance(found, np.ndarray):
            np.testing.assert_array_equal(again, found)
            assert again.dtype.kind == found.dtype.kind
        elif isinstance(found, (tuple, list)):
            assert len(again) == len(found)
            for one, other in zip(again, found):
                assert_same_portrait(one, other)
        else:
            np.testing.assert_equal(again, found)
        return
    assert type(again) is type(found)
    if isinstance(found, FixedPoints):
        assert_same_points(again, found)
        return
    for field in dataclasses.fields(found):
        assert_same_portrait(getattr(again, field.name), getattr(found, field.name))


@pytest.fixture(scope="module")
def whole(results):
    """A portrait with every part, of the tiny fit."""
    model, trials = results.fit.model, results.trials
    found = portrait(model, results.posterior.latents, lengths=trials.lengths, bin_width=trials.bin_width, starts=20)
    return dataclasses.replace(found, branches=continue_fixed_points(model, "gain", 0.5, 3.0, searches=3))


def test_a_portrait_comes_back(source, tmp_path, results, whole):
    with_portrait = dataclasses.replace(results, portrait=whole)
    path = write_nwb(source, with_portrait, output=tmp_path / "out.nwb")
    again = read_results(path)
    assert_same(again, with_portrait)
    assert_same_portrait(again.portrait, whole)
    assert again.portrait.text() == whole.text()
    assert new_findings(path, source) == set()


@pytest.mark.parametrize("make", [decision_teacher, line_teacher, pytest.param(cycle_teacher, marks=pytest.mark.slow)])
def test_portraits_of_many_kinds_come_back(source, tmp_path, results, make):
    """Two attractors with switching, a continuum without exponents, an invariant circle; visits of windows that there are."""
    latents = make(neurons=3).simulate(make(neurons=3).m.new_zeros(len(results.trials), results.trials.bins, 0), seed=0)[0].numpy()
    found = portrait(make(), latents, lengths=results.trials.lengths, bin_width=0.02, starts=30)
    path = write_nwb(source, dataclasses.replace(results, portrait=found), output=tmp_path / "out.nwb")
    again = read_results(path).portrait
    assert_same_portrait(again, found)
    assert again.name == found.name
    assert new_findings(path, source) == set()


def test_empty_parts_come_back(source, tmp_path, results, whole):
    none = np.zeros((0, 2))
    slow = SlowPoints(none, none[:, 0], none[:, 0], none.astype(complex))
    branches = Branches("gain", none[:, 0], none, np.zeros(0, int), none.astype(complex), np.zeros(0, str), whole.branches.checks)
    nothing = FixedPoints(none, none[:, 0], np.zeros((0, 2, 2)), none.astype(complex), np.zeros(0, bool), True, dict(reason="none"))
    for change in (
        dict(slow=slow, cycles=(), branches=branches, fixed_points=nothing),
        dict(switching=None, visits=None, branches=None),
        dict(attractors=(), switching=None, visits=None, name="no attractor"),
    ):
        found = dataclasses.replace(whole, **change)
        path = write_nwb(source, dataclasses.replace(results, portrait=found), output=tmp_path / "out.nwb", overwrite=True)
        assert_same_portrait(read_results(path).portrait, found)


def test_a_run_that_is_replaced_leaves_no_old_table(source, tmp_path, results, whole):
    path = write_nwb(source, dataclasses.replace(results, portrait=whole), output=tmp_path / "out.nwb")
    write_nwb(path, results, in_place=True, overwrite=True)
    assert read_results(path).portrait is None
    with NWBHDF5IO(path, "r") as io:
        names = set(io.read().processing["lowrank_rnn"].data_interfaces)
    assert not [name for name in names if "portrait" in name or "attractors" in name]


def test_visits_are_intervals_of_the_session(source, tmp_path, results, whole):
    """Any tool reads when which trial is in which basin: inside the windows, on the session's clock."""
    path = write_nwb(source, dataclasses.replace(results, portrait=whole), output=tmp_path / "out.nwb")
    with NWBHDF5IO(path, "r") as io:
        table = io.read().processing["lowrank_rnn"]["fit0_visits"].to_dataframe()
    trials = results.trials
    starts, stops = trials.starts[table["window"]], (trials.starts + trials.lengths * trials.bin_width)[table["window"]]
    assert (table["start_time"] >= starts - 1e-9).all() and (table["stop_time"] <= stops + 1e-9).all()
    covered = (table["stop_time"] - table["start_time"]).sum()
    assert covered == pytest.approx(trials.lengths.sum() * trials.bin_width)
