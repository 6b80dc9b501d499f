"""What is worth keeping: exact round trips, and refusals that name the mend."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from problems import bytes_of, poisson_world, randomise, trials_of

from nwb_lowrank.infer import infer
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import Tanh
from nwb_lowrank.observations import GaussianSignal, Poisson
from nwb_lowrank.observations.base import Exp
from nwb_lowrank.proposals import Bootstrap, Encoder, LinearGaussian
from nwb_lowrank.recipe import TRUSTED
from nwb_lowrank.results import Fit, FitSettings, FixedPoints, Posterior, Results, Score

HISTORY = pd.DataFrame(dict(stage=["warm start", "fit"], step=[5, 10], bound=[1 / 3, -0.1], validation=[0.1 + 0.2, 1e-17]))


class Stranger(Tanh):
    """A class that the package does not ship."""


def fit_with(observation, proposal, dtype=torch.float32, nonlinearity=None):
    model = randomise(LowRankRNN(rank=2, units=3, neurons=8, observation=observation, nonlinearity=nonlinearity).to(dtype))
    model.extent.copy_(torch.tensor([1.5, 2.5]))
    proposal = randomise(proposal.attach(model).to(dtype))
    return Fit(model, proposal, FitSettings(steps=7, segment=5, learning_rate=1 / 3), 2**40, HISTORY)


CASES = [
    (Poisson(), Encoder(channels=3, kernel=5, causal=True), torch.float32),
    (Poisson(Exp()), Bootstrap(), torch.float64),
    (GaussianSignal(), LinearGaussian(), torch.float32),
]


@pytest.mark.parametrize("observation, proposal, dtype", CASES)
def test_a_saved_fit_comes_back_equal(observation, proposal, dtype, tmp_path):
    before = fit_with(observation, proposal, dtype)
    assert before.save(tmp_path / "fit.safetensors") == tmp_path / "fit.safetensors"
    after = Fit.load(tmp_path / "fit.safetensors")
    assert bytes_of(after) == bytes_of(before)
    assert after.recipe() == before.recipe()
    assert (after.settings, after.seed) == (before.settings, before.seed)
    pd.testing.assert_frame_equal(after.history, before.history, check_exact=True)
    assert after.model.m.dtype == dtype


def test_a_loaded_fit_infers_the_same_bytes(tmp_path):
    before, trials = fit_with(*CASES[0]), trials_of(poisson_world())
    after = Fit.load(before.save(tmp_path / "fit.safetensors"))
    first, second = (infer(fitted, trials, particles=8, draws=4, device="cpu") for fitted in (before, after))
    for name in ("latents", "latents_sd", "rates", "log_evidence", "ess"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


def test_state_is_a_copy():
    fitted = fit_with(*CASES[0])
    before = fitted.model.m.detach().clone()
    fitted.state()["model.m"][:] = 9
    assert torch.equal(fitted.model.m, before)


def test_loading_runs_no_code_that_the_caller_does_not_trust(tmp_path):
    path = fit_with(Poisson(), Bootstrap(), nonlinearity=Stranger()).save(tmp_path / "fit.safetensors")
    with pytest.raises(ValueError, match="expected a class from nwb_lowrank.*Stranger.*trusted="):
        Fit.load(path)
    assert type(Fit.load(path, trusted=(*TRUSTED, __name__)).model.nonlinearity).__name__ == "Stranger"


@pytest.mark.parametrize("content", [b"", b"not safetensors"])
def test_a_file_that_is_no_fit_is_refused_with_its_name(content, tmp_path):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="odd.safetensors"):
        Fit.load(path)


def test_the_recipe_is_plain_json():
    fitted = fit_with(*CASES[0])
    assert json.loads(json.dumps(fitted.recipe())) == fitted.recipe()


def test_fixed_points_are_named_by_their_eigenvalues():
    eigenvalues = np.array([[0.9, 0.1], [1.2, 1.1], [1.2, 0.3], [0.5 + 0.5j, 0.5 - 0.5j], [1 + 1j, 1 - 1j], [1.0, 0.0]])
    stable = (np.abs(eigenvalues) < 1).all(1)
    points = FixedPoints(np.zeros((6, 2)), np.zeros(6), np.zeros((6, 2, 2)), eigenvalues, stable, True)
    assert points.kinds == [
        "attractor", "repeller", "saddle (1 unstable)", "attractor, spiral", "repeller, spiral", "saddle (1 unstable)",
    ]  # fmt: skip


def results(split, posterior_bins=15):
    trials = trials_of(poisson_world())
    empty = np.zeros((12, posterior_bins, 2))
    posterior = Posterior(empty, empty, np.zeros((12, posterior_bins, 8)), np.zeros(12), np.ones((posterior_bins, 12)))
    scores = [Score("co-bps", 0.2, "test", 0.02), Score("velocity R²", 0.8, "test", 0.02, "ridge")]
    return Results(fit_with(*CASES[0]), trials, posterior, split, scores=scores)


def test_scores_as_a_table():
    table = results(["train"] * 10 + ["test"] * 2).table()
    assert list(table.columns) == ["metric", "value", "split", "bin_width", "note"]
    assert table.value.tolist() == [0.2, 0.8] and table.note.tolist() == ["", "ridge"]
    empty = dataclasses.replace(results(["train"] * 12), scores=())
    assert list(empty.table().columns) == list(table.columns) and len(empty.table()) == 0


def test_results_of_other_trials_are_refused_with_the_mend():
    with pytest.raises(ValueError, match=r"one entry a trial \(12\); got shape \(3,\)"):
        results(["train"] * 3)
    with pytest.raises(ValueError, match=r"of the same trials \(12, 15\); got \(12, 9\). Use infer"):
        results(["train"] * 12, posterior_bins=9)


@pytest.mark.parametrize("change", [lambda d, s: s.pop("model.extent"), lambda d, s: d["settings"].update(momentum=0.9)])
def test_a_fit_of_another_version_is_refused_in_a_sentence(change):
    fit = fit_with(*CASES[0])
    description, state = fit.recipe(), fit.state()
    change(description, state)
    with pytest.raises(ValueError, match="^Fit: expected what this version .* got another version's fit .* fit again"):
        Fit.from_state(description, state, HISTORY)
