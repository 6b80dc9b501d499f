"""Figures of the dynamics: made for every kind of portrait, with the marks that belong there."""

import dataclasses

import numpy as np
import pytest

from nwb_lowrank.dynamics.continuation import continue_fixed_points
from nwb_lowrank.dynamics.portrait import portrait
from nwb_lowrank.plots.bifurcation import plot_bifurcation
from nwb_lowrank.plots.eigenvalues import plot_eigenvalues
from nwb_lowrank.plots.portrait import plot_portrait
from nwb_lowrank.plots.space import plot_space
from nwb_lowrank.proposals import Bootstrap
from nwb_lowrank.results import Fit, FitSettings, Posterior, Results
from nwb_lowrank.sources.synthetic import decision_teacher, random_teacher, simulate_session
from nwb_lowrank.sources.teachers import cycle_teacher


def results_of(teacher, with_portrait=True, **other):
    """The teacher as if it were its own fit, its latents as if they were the posterior."""
    session = simulate_session(teacher, trials=12, bins=25)
    B, T = session.latents.shape[:2]
    posterior = Posterior(session.latents, 0 * session.latents, session.rates, np.zeros(B), np.ones((T, B)))
    fit = Fit(teacher, Bootstrap(), FitSettings(), 0, None)
    results = Results(fit, session.trials, posterior, session.trials.split_labels(0.2, seed=0))
    if not with_portrait:
        return results
    found = portrait(teacher, session.latents, bin_width=0.02, starts=20, noise=False, **other)
    return dataclasses.replace(results, portrait=found, fixed_points=found.fixed_points)


def legend(figure):
    return {text.get_text() for panel in figure.axes if panel.get_legend() for text in panel.get_legend().get_texts()}


@pytest.fixture(scope="module")
def switch():
    return results_of(decision_teacher())


def test_phase_portrait(switch):
    figure = plot_portrait(switch)
    assert {"2 attractors", "latents of the data", "without noise"} <= legend(figure)
    assert {"1 saddle", "1 undetermined"} & legend(figure)  # it lies on a kink
    assert sum("nullcline" in name for name in legend(figure)) == 2
    assert figure.axes[0].get_title() == "bistable switch"
    cycle = plot_portrait(results_of(cycle_teacher(), cycles=False))
    assert "invariant circle" in legend(cycle) and "1 repeller" in legend(cycle)
    assert plot_portrait(results_of(decision_teacher(), with_portrait=False)).axes  # flow alone


def test_eigenvalue_plane(switch):
    figure = plot_eigenvalues(switch)
    assert "attractors (2)" in legend(figure)
    marked = np.concatenate([line.get_xdata() for line in figure.axes[0].lines if line.get_marker() in ("o", "X", "D")])
    np.testing.assert_allclose(np.sort(marked), np.sort(switch.fixed_points.eigenvalues.real.ravel()))
    with pytest.raises(ValueError, match="no fixed points"):
        plot_eigenvalues(results_of(decision_teacher(), with_portrait=False))


def test_bifurcation_diagram(switch):
    branches = continue_fixed_points(switch.fit.model, "gain", 0.3, 1.5)
    figure = plot_bifurcation(switch, branches)
    assert {"stable", "unstable"} <= legend(figure) and any("fold" in name for name in legend(figure))
    assert figure.axes[-1].get_xlabel() == "gain"
    with pytest.raises(ValueError, match="no branches"):
        plot_bifurcation(switch)


def test_three_dimensions(switch):
    figure = plot_space(results_of(random_teacher(rank=3, units=24, gain=1.5)))
    assert figure.axes[0].name == "3d" and "latents of the data" in legend(figure)
    with pytest.raises(ValueError, match="rank 3"):
        plot_space(switch)


def test_planes_that_a_rank_does_not_have(switch):
    with pytest.raises(ValueError, match="plane must be"):
        plot_portrait(switch, plane=(0, 2))
