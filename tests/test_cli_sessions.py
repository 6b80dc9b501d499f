"""The command line for several sessions, for adapting, and for models beyond the plain one."""

import numpy as np
import pytest
from test_cli import QUICK, record

import nwb_lowrank as nl
from nwb_lowrank.cli import main


@pytest.fixture
def folder(tmp_path):
    for number, neurons in enumerate((6, 5)):
        record(tmp_path / f"{number}.nwb", neurons=neurons, spikes=80 + number)
    return tmp_path


def test_two_sessions_share_dynamics_and_a_third_is_adapted(folder, capsys):
    options = ["--rank", "1", "--bin", "0.1", "--input", "go_time", *QUICK]
    files = [str(folder / f"{number}.nwb") for number in (0, 1)]
    assert main(["fit-sessions", *files, *options, "--observation", "negative_binomial", "--history", "3", "--reading", "loadings"]) == 0
    first, second = (nl.read_results(folder / f"{number}_lowrank.nwb") for number in (0, 1))
    np.testing.assert_array_equal(first.fit.state()["model.m"], second.fit.state()["model.m"])
    assert (first.trials.neurons, second.trials.neurons) == (6, 5)
    assert first.trials.input_names == ("go_time",) and first.reading is not None
    assert isinstance(first.fit.model.observation, nl.NegativeBinomial) and first.fit.model.observation.history.bins == 3
    assert not list(folder.glob(".*checkpoint"))

    new = record(folder / "new.nwb", neurons=4, spikes=70)
    assert main(["adapt", str(folder / "0_lowrank.nwb"), str(new), *QUICK[:6]]) == 0
    adapted = nl.read_results(folder / "new_lowrank.nwb")
    for name in ("model.m", "model.n", "model.w", "model.decay_logit", "model.noise.log_sd"):
        np.testing.assert_array_equal(adapted.fit.state()[name], first.fit.state()[name])
    assert adapted.trials.neurons == 4 and adapted.trials.bin_width == 0.1 and adapted.trials.input_names == ("go_time",)
    assert "co-bps" in capsys.readouterr().out


@pytest.mark.parametrize("options, message", [
    (["fit-sessions", "0.nwb", "--rank", "1", "--bin", "0.1"], "expected two files or more"),
    (["fit", "0.nwb", "--rank", "1", "--bin", "0.1", "--observation", "gaussian", "--history", "3"], "--history is for spike counts"),
    (["fit", "0.nwb", "--rank", "1", "--bin", "0.1", "--observation", "gaussian", "--link", "exp"], "has no --link"),
    (["fit", "0.nwb", "--rank", "1", "--bin", "1", "--observation", "bernoulli"], "Bernoulli expects 0 or 1 in every bin"),
    (["fit", "0.nwb", "--rank", "1", "--bin", "0.1", "--input", "nothing"], "no column and no behaviour series 'nothing'"),
])  # fmt: skip
def test_one_sentence_and_nothing_written(folder, monkeypatch, capsys, options, message):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert main(options) == 2
    assert message in capsys.readouterr().err
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("model", [["--readout", "unit_rates", "--biases"], ["--full-rank", "--hidden", "4"], ["--readout", "mlp"]])
def test_model_options_reach_the_file(folder, model):
    options = [*QUICK[:6], *model] if "--hidden" in model else [*QUICK, *model]
    assert main(["fit", str(folder / "0.nwb"), "--rank", "1", "--bin", "0.1", *options]) == 0
    found = nl.read_results(folder / "0_lowrank.nwb").fit.model
    assert found.biases == ("--biases" in model) and found.full == ("--full-rank" in model)
    assert isinstance(found.observation.readout, nl.UnitRates) == ("unit_rates" in model)
