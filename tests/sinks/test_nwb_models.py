"""Every kind of model goes into a file and comes back, its inputs are cut again, and it infers the same numbers there."""

import numpy as np
import pandas as pd
import pytest
from problems import randomise

from nwb_lowrank.infer import infer
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import Tanh
from nwb_lowrank.observations import (
    Bernoulli,
    Calcium,
    GaussianSignal,
    NegativeBinomial,
    Poisson,
    SpikeHistory,
    ZeroInflatedGamma,
)
from nwb_lowrank.observations.base import Exp
from nwb_lowrank.proposals import Encoder
from nwb_lowrank.readouts import MLP, UnitCurrents, UnitRates
from nwb_lowrank.results import Fit, FitSettings, Results
from nwb_lowrank.sinks.nwb import read_results, write_nwb
from nwb_lowrank.sinks.recording import write_recording
from nwb_lowrank.sources.nwb import read_nwb

MODELS = {
    "negative binomial": lambda: (NegativeBinomial(Exp(), readout=MLP(hidden=3), history=SpikeHistory(bins=4, basis=2)), {}),
    "bernoulli": lambda: (Bernoulli(), dict(biases=True)),
    "calcium": lambda: (Calcium(), {}),
    "gamma": lambda: (ZeroInflatedGamma(readout=UnitRates()), {}),
    "full rank": lambda: (Poisson(readout=UnitCurrents()), dict(full=True, rank=6)),
    "gaussian": lambda: (GaussianSignal(), dict(nonlinearity=Tanh())),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Four neurons that spike at most once a bin, so that every model can be fitted to them; cues and a moving hand."""
    random, starts = np.random.default_rng(0), 1.0 + np.arange(5) * 0.6
    grid = np.arange(0.5, 5.0, 0.02) + 0.01
    times = np.arange(0.5, 5.0, 0.01)
    return write_recording(
        tmp_path_factory.mktemp("models") / "session.nwb",
        spike_times=[np.sort(random.choice(grid, 80, replace=False)) for _ in range(4)],
        trials=pd.DataFrame(dict(start_time=starts, stop_time=starts + 0.4, cue=starts + 0.15, condition=np.arange(5) % 2)),
        behavior={"hand": (times, np.sin(times)[:, None], "m")},
        obs_intervals=[[0.5, 5.0]],
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_model_comes_back_and_infers_the_same(name, source, tmp_path):
    trials = read_nwb(source, bin_width=0.02, inputs=["cue", "condition", "hand"]).hide([1])
    observation, options = MODELS[name]()
    model = LowRankRNN(neurons=4, units=6, inputs=4, observation=observation, filtered=True, **(dict(rank=2) | options))
    proposal = randomise(Encoder(channels=4, kernel=3).attach(randomise(model)), 1)
    fitted = Fit(model, proposal, FitSettings(), 0, pd.DataFrame())
    results = Results(fitted, trials, infer(fitted, trials, particles=4, draws=2, device="cpu"), ["train"] * 4 + ["test"])
    again = read_results(write_nwb(source, results, output=tmp_path / "out.nwb"))
    assert again.fit.recipe() == fitted.recipe()
    assert {k: v.tobytes() for k, v in again.fit.state().items()} == {k: v.tobytes() for k, v in fitted.state().items()}
    np.testing.assert_array_equal(again.trials.inputs, trials.inputs)
    assert again.trials.input_names == trials.input_names == ("cue", "condition=0", "condition=1", "hand")
    posterior = infer(again.fit, again.trials, device="cpu", **again.posterior.settings)
    for part in ("latents", "latents_sd", "rates", "log_evidence"):
        np.testing.assert_array_equal(getattr(posterior, part), getattr(results.posterior, part), err_msg=part)
