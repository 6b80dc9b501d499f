"""A small recording, a tiny fit of it, and what it means that a fit comes back."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from problems import randomise

from nwb_lowrank.fit import fit
from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.infer import infer
from nwb_lowrank.metrics import evaluate
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.observations import GaussianSignal, Poisson
from nwb_lowrank.proposals import Encoder
from nwb_lowrank.results import Fit, FitSettings, FixedPoints, Results
from nwb_lowrank.sinks.nwb import write_nwb
from nwb_lowrank.sinks.recording import write_recording
from nwb_lowrank.sources.nwb import read_nwb
from nwb_lowrank.trials import Trials

QUICK = FitSettings(steps=2, warm_rounds=1, warm_steps=1, particles=4, warm_trials=8)
TRIALS, LENGTH, PERIOD = 12, 0.4, 0.6  # seconds; every third trial is 0.1 s shorter
CUTS = {
    "aligned": dict(align="cue", window=(-0.1, 0.2)),
    "padded": {},
    "overlapping": dict(align="start_time", window=(-0.2, 0.8)),
    "chunks": dict(chunk=0.5),
}


def record(path, *, neurons=6, seed=0, count=TRIALS, **other):
    """A small recording with everything that `read_nwb` uses; its first event is missing."""
    random = np.random.default_rng(seed)
    starts = 1.0 + np.arange(count) * PERIOD
    stops = starts + LENGTH - 0.1 * (np.arange(count) % 3 == 2)
    cue = np.where(np.arange(count) == 0, np.nan, starts + 0.15)
    times = np.arange(0.5, stops[-1] + 0.5, 0.01)
    return write_recording(
        path,
        spike_times=[np.sort(random.uniform(0.6, stops[-1] + 0.5, 200 + 20 * neuron)) for neuron in range(neurons)],
        trials=pd.DataFrame(dict(start_time=starts, stop_time=stops, cue=cue, condition=np.arange(count) % 2)),
        behavior={"hand": (times, np.stack([np.sin(times), np.cos(times)], 1), "m")},
        obs_intervals=[[0.5, stops[-1] + 0.5]],
        **other,
    )


def untrained(trials, *, inputs=0, double=False, seed=0):
    """A fit that never trained: the sink must be right for any parameters."""
    observation = Poisson() if trials.is_counts else GaussianSignal()
    model = LowRankRNN(rank=2, units=8, neurons=trials.neurons, inputs=inputs, observation=observation)
    model = randomise(model.double() if double else model, seed)
    proposal = randomise(Encoder(channels=4, kernel=3).attach(model), seed)
    history = pd.DataFrame(dict(stage=["warm start", "fit"], step=[1, 2], bound=[-1.5, -1.25], validation=[np.nan, -1.3]))
    return Fit(model, proposal.double() if double else proposal, QUICK, seed, history)


def complete(fitted, trials):
    """Results with every part, of few particles."""
    posterior = infer(fitted, trials, particles=4, draws=3, seed=1, batch_size=5, device="cpu")
    split = trials.split_labels(0.25, seed=0)
    return Results(fitted, trials, posterior, split, find_fixed_points(fitted.model), evaluate(posterior, trials, split))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return record(tmp_path_factory.mktemp("source") / "session.nwb")


@pytest.fixture(scope="module")
def results(source):
    """A real, tiny fit with a held-out neuron and forecast bins."""
    trials = read_nwb(source, bin_width=0.02, behavior="hand", **CUTS["aligned"]).hide([2]).forecast_last(2)
    model = LowRankRNN(rank=2, units=8, neurons=trials.neurons)
    return complete(fit(model, Encoder(channels=4, kernel=3), trials, QUICK, seed=3, device="cpu"), trials)


@pytest.fixture(scope="module")
def written(source, results):
    return write_nwb(source, results)


@pytest.fixture
def folder(tmp_path, source, written):
    """A folder of its own with copies of the source and of the written file."""
    for path in (source, written):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path


def digests(folder) -> dict:
    """Every file below a folder, hidden ones too."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).rglob("*") if path.is_file()}


def assert_same(again: Results, results: Results):
    """Every field equal to the last bit; the posterior in all bins up to a window's last recorded one."""
    assert again.fit.recipe() == results.fit.recipe()
    assert {k: (v.dtype, v.tobytes()) for k, v in again.fit.state().items()} == {
        k: (v.dtype, v.tobytes()) for k, v in results.fit.state().items()
    }
    pd.testing.assert_frame_equal(again.fit.history, results.fit.history, check_exact=True)
    assert_same_trials(again.trials, results.trials)
    recorded = np.arange(results.trials.bins) < results.trials.lengths[:, None]
    for name in ("latents", "latents_sd", "rates"):
        new, old = getattr(again.posterior, name), getattr(results.posterior, name)
        assert new.shape == old.shape and new.dtype == old.dtype
        # float64 rates pass through Hz: one rounding each way
        np.testing.assert_allclose(new[recorded], old[recorded], rtol=1e-15 if name == "rates" else 0, err_msg=name)
    np.testing.assert_array_equal(again.posterior.ess[recorded.T], results.posterior.ess[recorded.T])
    np.testing.assert_array_equal(again.posterior.log_evidence, results.posterior.log_evidence)
    assert again.posterior.settings == results.posterior.settings
    np.testing.assert_array_equal(again.split, results.split)
    assert again.scores == results.scores
    assert_same_points(again.fixed_points, results.fixed_points)


def assert_same_trials(again: Trials, trials: Trials):
    for field in dataclasses.fields(Trials):
        new, old = getattr(again, field.name), getattr(trials, field.name)
        if field.name == "table":
            pd.testing.assert_frame_equal(new, old)
        elif field.name == "origin":
            assert new == json.loads(json.dumps(old))  # tuples are lists in a file
        else:
            np.testing.assert_array_equal(new, old, err_msg=field.name)


def assert_same_points(again, points):
    if points is None:
        assert again is None
        return
    for field in dataclasses.fields(FixedPoints):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(points, field.name), err_msg=field.name)


def new_findings(path, source) -> set:
    """What the inspector finds critical or a violation in `path` and not in `source`."""
    inspector = pytest.importorskip("nwbinspector")
    grave = ("CRITICAL", "BEST_PRACTICE_VIOLATION", "ERROR", "PYNWB_VALIDATION")
    old, new = (
        {
            (m.check_function_name, m.object_name, m.message)
            for m in inspector.inspect_nwbfile(nwbfile_path=str(file))
            if m.importance.name in grave
        }
        for file in (source, path)
    )
    return new - old
