"""Particles that collapse are told of: once, with the mend, in Python and on the command line."""

import sys
import warnings

import pytest
import torch
from problems import poisson_world, trials_of

import nwb_lowrank as nl
from nwb_lowrank.checks import warn_of_collapse
from nwb_lowrank.cli import _show_warning
from nwb_lowrank.observations.base import Exp

QUICK = nl.FitSettings(steps=1, warm_rounds=1, warm_steps=1, particles=8, averaging=0)


def world():
    """Loud spikes and broad noise: a blind particle seldom lies where the data are."""
    found = poisson_world(neurons=60, rate=3.0, link=Exp(), trials=4)
    found.model.noise.set(2.0 * torch.eye(2))
    return found


def warned(call):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        call()
    return [w for w in seen if issubclass(w.category, nl.ParticleCollapse)]


def test_the_blind_filter_warns_once_with_the_mend_and_the_looking_one_does_not():
    data = world()
    blind, looking = (nl.Fit(data.model, p, nl.FitSettings(), 0, None) for p in (nl.Bootstrap(), nl.Laplace()))
    (warning,) = warned(lambda: nl.infer(blind, trials_of(data), particles=8, draws=4, batch_size=2))
    assert str(warning.message).startswith("infer: the particles of a bin should share its weight; in ")
    assert "fewer than 2 of 8" in str(warning.message) and "Laplace()" in str(warning.message)
    assert warned(lambda: nl.infer(looking, trials_of(data), particles=8, draws=4)) == []


def test_fit_warns_once():
    data = world()
    settings = nl.FitSettings(**{**vars(QUICK), "initialise": False, "warm_rounds": 0, "learning_rate": 1e-6})
    (warning,) = warned(lambda: nl.fit(data.model, nl.Bootstrap(), trials_of(data), settings))
    assert str(warning.message).startswith("fit: ")


@pytest.mark.parametrize("ess, recorded, expected", [
    (1.5, True, 1), (2.5, True, 0), (1.5, False, 0),
])  # fmt: skip
def test_only_recorded_bins_with_a_small_effective_sample_count(ess, recorded, expected):
    call = dict(particles=8, proposal=nl.Bootstrap())
    assert len(warned(lambda: warn_of_collapse("infer", torch.full((5, 3), ess), torch.full((3, 5), recorded), **call))) == expected


def test_too_few_particles_to_collapse_say_nothing():
    call = dict(particles=2, proposal=nl.Bootstrap())
    assert warned(lambda: warn_of_collapse("infer", torch.ones(5, 3), torch.ones(3, 5, dtype=torch.bool), **call)) == []


def test_the_command_line_shows_it_in_one_line(capsys):
    _show_warning("infer: particles", nl.ParticleCollapse, __file__, 1)
    assert capsys.readouterr().err == "nwb-lowrank: warning: infer: particles\n"
    _show_warning("other", UserWarning, __file__, 1, file=sys.stderr)
    assert "UserWarning: other" in capsys.readouterr().err
