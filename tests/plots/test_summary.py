"""The one-page figure: it shows what the results hold."""

import dataclasses

import numpy as np
import pytest

from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.metrics import evaluate
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.plots.summary import plot_summary
from nwb_lowrank.proposals import Encoder
from nwb_lowrank.results import Fit, FitSettings, Posterior, Results
from nwb_lowrank.sources.synthetic import decision_teacher, simulate_session


@pytest.fixture(scope="module")
def results():
    """The teacher as its own fit: latents and rates are the truth."""
    import pandas as pd

    teacher = decision_teacher(neurons=12)
    session = simulate_session(teacher, trials=40, bins=30, seed=0)
    trials = session.trials.hide([2, 7])
    split = trials.split_labels(0.25, seed=0)
    z = session.latents
    posterior = Posterior(z, 0.1 * np.ones_like(z), session.rates, np.zeros(len(z)), np.full(z.shape[1::-1], 5.0))
    history = pd.DataFrame(dict(stage=["warm start"] * 2 + ["fit"] * 2, step=[5, 10, 20, 40], bound=[-9.0, -8, -7.5, -7.4],
                                validation=[-9.1, -8.2, -7.7, -7.6], ess=[0.5, 0.6, 0.6, 0.7], learning_rate=[0.01] * 4))  # fmt: skip
    fit = Fit(teacher, Encoder().attach(teacher), FitSettings(), 0, history)
    return Results(fit, trials, posterior, split, find_fixed_points(teacher), evaluate(posterior, trials, split))


def panels(figure):
    return {panel.get_title(): panel for panel in figure.axes}


def test_every_panel_is_there_and_draws(results, tmp_path):
    figure = plot_summary(results)
    titles = " | ".join(panels(figure)) + " | ".join(panel.get_title("left") for panel in figure.axes)
    shown = ("recorded", "predicted from shown neurons", "principal latent 1", "principal latent 2", "fixed point", "held-out unit")
    for words in (*shown, "training", "scores"):
        assert words in titles
    figure.savefig(tmp_path / "page.png", dpi=40)
    assert (tmp_path / "page.png").stat().st_size > 10_000


def test_the_portrait_shows_each_fixed_point_at_its_place(results):
    (portrait,) = (panel for title, panel in panels(plot_summary(results)).items() if "fixed point" in title)
    assert "3 fixed points (all of them, certified)" in portrait.get_title()
    markers = {line.get_marker(): np.stack(line.get_data(), -1) for line in portrait.lines if line.get_marker() in ("o", "X")}
    assert len(markers["o"]) == 2 and len(markers["X"]) == 1
    # The principal axes are a rotation: distances between points stay.
    expected = np.linalg.norm(np.subtract(*results.fixed_points.points[results.fixed_points.stable]))
    assert np.linalg.norm(np.subtract(*markers["o"])) == pytest.approx(expected, rel=1e-6)


def test_scores_stand_with_split_and_bin_width(results):
    text = " ".join(text.get_text() for panel in plot_summary(results).axes for text in panel.texts)
    assert "10 of 40 trials" in text and "bins of 20 ms" in text
    for score in results.scores:
        assert f"{score.value:.4f}" in text


def test_trials_are_coloured_by_condition(results):
    figure = plot_summary(results)
    panel = next(panel for title, panel in panels(figure).items() if title.startswith("principal latent 1"))
    assert panel.get_ylabel() == "coloured by condition"
    assert len({line.get_color() if isinstance(line.get_color(), str) else tuple(line.get_color()) for line in panel.lines}) == 4
    with pytest.raises(KeyError, match="'size'.*condition"):
        plot_summary(results, column="size")


def test_rank_one_and_results_without_points_scores_or_history(results, tmp_path):
    trials = results.trials
    model = LowRankRNN(rank=1, units=4, neurons=trials.neurons)
    one = {name: getattr(results.posterior, name)[..., :1] for name in ("latents", "latents_sd")}
    fit = Fit(model, Encoder().attach(model), FitSettings(), 0, results.fit.history.iloc[:0])
    bare = dataclasses.replace(results, fit=fit, posterior=dataclasses.replace(results.posterior, **one), fixed_points=None, scores=())
    plot_summary(bare).savefig(tmp_path / "page.png", dpi=40)
    assert "not scored" in " ".join(text.get_text() for panel in plot_summary(bare).axes for text in panel.texts)


def test_chunks_are_not_averaged(results):
    """Chunks share no event: a mean over them would be of nothing."""
    chunked = dataclasses.replace(results.trials, origin=dict(cut=dict(table="none")))
    found = panels(plot_summary(dataclasses.replace(results, trials=chunked), trial=3))
    panel = next(panel for title, panel in found.items() if title.startswith("held-out unit"))
    assert panel.get_ylabel().startswith("trial 3")
    unit = int(panel.get_title().split()[-1])
    model = panel.lines[1].get_ydata() * chunked.bin_width
    np.testing.assert_allclose(model, results.posterior.rates[3, :, unit], rtol=1e-6)
