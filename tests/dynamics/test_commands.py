"""The portrait from the command line: printed, as JSON, stored, drawn."""

import json

import numpy as np
import pandas as pd
import pytest

import nwb_lowrank as nl
from nwb_lowrank.cli import main
from nwb_lowrank.demo import write_session
from nwb_lowrank.proposals import Bootstrap
from nwb_lowrank.results import Fit, FitSettings, Results
from nwb_lowrank.sources.synthetic import decision_teacher, simulate_session


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file with the teacher itself as its fit."""
    folder = tmp_path_factory.mktemp("switch")
    session = simulate_session(decision_teacher(neurons=12), trials=20, bins=25)
    source = write_session(folder / "recording.nwb", session)
    trials = nl.read_nwb(source, bin_width=0.02, align="start_time", window=(0, 0.5))
    fit = Fit(session.teacher, Bootstrap().attach(session.teacher), FitSettings(), 0, pd.DataFrame())
    posterior = nl.infer(fit, trials, particles=16, draws=4, seed=0, device="cpu")
    return nl.write_nwb(source, Results(fit, trials, posterior, trials.split_labels(0.2, seed=0)), output=folder / "fit.nwb")


def test_the_portrait_is_printed_stored_and_drawn(file, tmp_path, capsys):
    assert main(["fixed-points", str(file), "--portrait", "--along", "gain", "0.3", "1.5", "--save"]) == 0
    out = capsys.readouterr().out
    assert "portrait: bistable switch" in out and "decays in 0.24 s" in out and "border collision: nonsmooth fold at 0.66666" in out
    results = nl.read_results(file)
    assert results.portrait.name == "bistable switch" and len(results.fixed_points.points) == 3
    assert results.portrait.text() in out
    assert set(np.unique(results.portrait.visits.attractor)) <= {0, 1}
    for kind in ("portrait", "eigenvalues", "bifurcation"):
        path = tmp_path / f"{kind}.png"
        assert main(["plot", str(file), "--kind", kind, "--output", str(path)]) == 0
        assert path.stat().st_size > 10_000
    assert main(["plot", str(file), "--kind", "3d", "--output", str(tmp_path / "no.png")]) == 2
    assert not (tmp_path / "no.png").exists()


def test_json_is_json(file, capsys):
    capsys.readouterr()
    assert main(["fixed-points", str(file), "--portrait", "--along", "gain", "0.5", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)  # neither NaN nor Infinity
    assert found["portrait"]["name"] == "bistable switch" and found["branches"]["parameter"] == "gain"
    assert main(["fixed-points", str(file), "--cycles", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cycles"] == []


@pytest.mark.parametrize("words, message", [
    (["--save"], "Add --portrait"), (["--along", "speed", "0", "1"], "along: expected one of"),
    (["--along", "gain", "low", "1"], "two numbers"),
])  # fmt: skip
def test_wrong_options_are_told(file, capsys, words, message):
    before = file.read_bytes()
    assert main(["fixed-points", str(file), *words]) == 2
    assert message in capsys.readouterr().err and file.read_bytes() == before
