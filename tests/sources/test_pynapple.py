"""pynapple objects in, and results out as pynapple objects."""

import subprocess
import sys

import numpy as np
import pytest

from nwb_lowrank.infer import infer
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.proposals import Bootstrap
from nwb_lowrank.results import Fit, FitSettings, Results
from nwb_lowrank.sources.pynapple import read_pynapple


@pytest.fixture(scope="module")
def nap():
    return pytest.importorskip("pynapple")


@pytest.fixture
def group(nap):
    random = np.random.default_rng(0)
    spikes = {3: nap.Ts(np.sort(random.uniform(0, 20, 900))), 7: nap.Ts(np.sort(random.uniform(0, 20, 500))), 9: nap.Ts(np.array([5.5]))}
    return nap.TsGroup(spikes, time_support=nap.IntervalSet([0, 12], [10, 20]), metadata={"area": ["CA1", "CA3", "CA1"]})


def test_counts_are_those_of_pynapple(nap, group):
    """Its own count over the same epochs, whose edges lie on no spike."""
    epochs = nap.IntervalSet([1, 5, 13.0], [3, 6, 15.0], metadata={"side": ["l", "r", "l"]})
    trials = read_pynapple(group, epochs, bin_width=0.1)
    for row, epoch in enumerate(epochs):
        assert np.array_equal(trials.counts[row, : trials.lengths[row]], group.count(0.1, epoch).values)
    assert trials.unit_ids.tolist() == [3, 7, 9] and trials.table["side"].tolist() == ["l", "r", "l"]
    assert read_pynapple(group, epochs, bin_width=0.1, units="area == 'CA1'", trials="side == 'l'").counts.shape == (2, 20, 2)


def test_the_time_support_is_what_was_observed(nap, group):
    trials = read_pynapple(group, nap.IntervalSet([9.0, 13], [11.0, 15]), bin_width=0.5)
    assert trials.mask[0, :2].all() and not trials.mask[0, 2:].any() and trials.mask[1].all()
    assert read_pynapple(group, bin_width=0.5, chunk=5.0).starts.tolist() == [0, 5, 12, 17]


def test_signals_and_behaviour(nap, group):
    times = np.arange(0, 20, 0.05)
    frame = nap.TsdFrame(t=times, d=np.stack([np.sin(times), np.cos(times), times], 1), columns=["a", "b", "c"])
    trials = read_pynapple(frame, chunk=2.0, units="column != 'b'", behavior={"speed": nap.Tsd(t=times, d=2 * times)})
    assert np.allclose(trials.counts.reshape(-1, 2)[: len(times)], np.stack([np.sin(times), times], 1), atol=1e-6)
    known = trials.behavior_mask
    assert np.allclose(trials.behavior[known][:, 0], 2 * trials.times[known], atol=1e-9) and trials.behavior_names == ("speed",)


def test_refusals(nap, group):
    cases = [
        (dict(data=np.ones(3)), TypeError, "read_pynapple: expected a TsGroup or a TsdFrame of pynapple; got ndarray"),
        (dict(data=group), ValueError, "read_pynapple: spike times need bin_width="),
        (dict(data=group, intervals=[1, 2], bin_width=0.1), TypeError, "must be an IntervalSet"),
        (dict(data=group, bin_width=0.1, behavior={"x": [1]}), TypeError, "'x' must be a Tsd"),
    ]
    for how, kind, message in cases:
        with pytest.raises(kind, match=message):
            read_pynapple(**how)


def test_importing_the_source_does_not_import_pynapple():
    code = "import sys, nwb_lowrank.sources.pynapple, nwb_lowrank.sinks.pynapple; print('pynapple' in sys.modules, 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split() == ["False", "False"]


def results_of(trials):
    model = LowRankRNN(rank=2, units=4, neurons=trials.neurons)
    fitted = Fit(model, Bootstrap().attach(model), FitSettings(), 0, history=None)
    return Results(fitted, trials, infer(fitted, trials, particles=3, draws=2, device="cpu"), np.full(len(trials), "train"))


def test_results_come_out_as_pynapple_objects(nap, group):
    from nwb_lowrank.sinks.pynapple import to_pynapple

    trials = read_pynapple(group, nap.IntervalSet([1, 3, 13.0], [3, 4.5, 15.0]), bin_width=0.1)
    results = results_of(trials)
    made = to_pynapple(results)
    within = np.arange(trials.bins) < trials.lengths[:, None]
    assert np.allclose(made["latents"].t, trials.times[within]) and np.allclose(made["latents"].values, results.posterior.latents[within])
    assert np.allclose(made["rates"].values * 0.1, results.posterior.rates[within], rtol=1e-6)
    assert list(made["rates"].columns) == [3, 7, 9] and len(made["windows"]) == 3
    assert made["windows"].metadata["split"].tolist() == ["train"] * 3
    mean = made["latents"].restrict(made["windows"][1]).values
    assert np.allclose(mean, results.posterior.latents[1, : trials.lengths[1]])
    with pytest.raises(ValueError, match="some overlap"):
        to_pynapple(results_of(read_pynapple(group, nap.IntervalSet([1, 4.0], [3, 6.0]), bin_width=0.1, align="start_time", window=(0, 4))))
