"""Generative statistics against closed forms, identities and their own ceiling."""

import numpy as np
import pytest

from nwb_lowrank.metrics import Generative
from nwb_lowrank.metrics.generative import intervals, spectral_distance, state_space_divergence
from nwb_lowrank.trials import Trials


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_divergence_of_equal_clouds_is_zero_and_shift_has_its_closed_form():
    """One point each: two unit Gaussians at distance d have KL = d²/2."""
    x = noise(500, 3)
    assert state_space_divergence(x, x) == 0.0
    values = [state_space_divergence(np.zeros((1, 4)), np.full((1, 4), 1.5), seed=s) for s in range(40)]
    assert abs(np.mean(values) - 4 * 1.5**2 / 2) < 5 * np.std(values) / 40**0.5


def test_divergence_of_two_gaussian_clouds():
    """Many points of N(0, s²) with unit components are N(0, s² + 1): KL has a closed form (tolerance: finite clouds, about 1 %)."""
    a, b = 2.0 * noise(4_000, 2), noise(4_000, 2, seed=1)
    p, q = 5.0, 2.0
    exact = 2 * 0.5 * (p / q - 1 - np.log(p / q))
    value = np.mean([state_space_divergence(a, b, seed=s) for s in range(4)])
    assert abs(value - exact) < 0.1 * exact


def test_divergence_thins_long_recordings():
    assert abs(state_space_divergence(noise(12_000, 2), noise(12_000, 2, seed=1), samples=200)) < 0.05


def test_spectral_distance_of_disjoint_tones_is_one_and_of_equal_signals_zero():
    t = np.arange(2000)
    tones = np.sin(2 * np.pi * np.outer(t, [100, 200]) / 2000), np.sin(2 * np.pi * np.outer(t, [400, 600]) / 2000)
    assert spectral_distance(tones[0], tones[0]) == pytest.approx(0, abs=1e-7)
    assert spectral_distance(*tones, smoothing=5) == pytest.approx(1, abs=1e-3)
    assert spectral_distance(tones[0], 7 * tones[0][:1500] + 3, smoothing=0) < 0.2  # scale, offset and length do not count


def test_spectral_distance_as_numbers_md_defines_it():
    """A naive version: per channel z-score, |FFT|², Gaussian smoothing, normalise, Hellinger; then the mean."""
    from scipy.ndimage import gaussian_filter1d

    x, y = noise(700, 3).cumsum(0), noise(700, 3, seed=1)
    parts = []
    for a, b in zip(x.T, y.T):
        p, q = (gaussian_filter1d(np.abs(np.fft.rfft((s - s.mean()) / s.std())) ** 2, 20) for s in (a, b))
        parts.append(np.sqrt(1 - np.sqrt(p / p.sum() * q / q.sum()).sum()))
    assert spectral_distance(x, y) == pytest.approx(np.mean(parts), rel=1e-9)


def test_intervals_end_with_trials_and_at_gaps():
    counts = np.array([[1, 0, 0, 1, 0], [0, 2, 0, 0, 1]])[..., None]
    (found,) = intervals(counts)
    np.testing.assert_allclose(found, [3, 0.5, 2.75])  # two spikes of a bin lie at a quarter and three quarters of it
    mask = np.ones(counts.shape, bool)
    mask[0, 2] = False
    np.testing.assert_allclose(intervals(counts, mask)[0], [0.5, 2.75])


def rhythmic(trials, seed):
    """Neurons with rates, correlations and rhythms of their own."""
    random = np.random.default_rng(seed)
    drive = np.sin(0.3 * np.arange(60) + random.uniform(0, 6, (trials, 1)))
    gains, rates = np.linspace(-0.9, 0.9, 8), np.geomspace(0.1, 1.5, 8)
    return random.poisson(rates * np.exp(drive[..., None] * gains))


def test_the_right_generator_reaches_the_ceiling_and_a_wrong_one_does_not():
    split = np.array(["test"] * 100 + ["train"] * 100)
    trials = Trials.from_arrays(rhythmic(200, 0), bin_width=0.01)
    same, shuffled = np.stack([rhythmic(100, s) for s in (1, 2, 3)]), np.stack([rhythmic(100, 4)])
    shuffled = np.random.default_rng(0).permuted(shuffled, axis=2)  # in time: rates stay, rhythm and correlations go

    def scores(generated):
        return {(s.metric, s.split): s.value for s in Generative(generated)(None, trials, split)}

    good, bad = scores(same), scores(shuffled)
    names = {name for name, _ in good}
    assert names == {"gen-rate-r", "gen-ISI-r", "gen-ISI-CV-r", "gen-corr-r", "D_H", "gen-pop-H", "D_stsp"}
    for name in names - {"gen-ISI-CV-r"}:
        sign = -1 if name in ("D_H", "gen-pop-H", "D_stsp") else 1
        gap = abs(good[name, "test"] - good[name, "ceiling"])
        assert gap < 0.1, name
        if name not in ("gen-rate-r", "gen-ISI-r"):  # shuffled bins keep these
            assert sign * (good[name, "test"] - bad[name, "test"]) > 2 * gap, name


def test_neurons_that_the_test_trials_never_moved_have_no_say_in_distances():
    """A silent neuron has no unit to measure in: one generated spike of it used to make the state space infinitely far."""
    counts = rhythmic(40, seed=0)
    silent = np.concatenate([counts, np.zeros((40, 60, 1), int)], -1)
    generated = rhythmic(20, seed=1)[None]
    awake = np.concatenate([generated, np.ones((1, 20, 60, 1), int)], -1)
    awake[..., ::2, -1] = 0
    split = np.array(["train", "test"] * 20)
    first, second = (
        {(s.metric, s.split): s.value for s in Generative(drawn)(None, Trials.from_arrays(y, bin_width=0.02), split)}
        for y, drawn in ((counts, generated), (silent, awake))
    )
    for name in ("D_stsp", "D_H"):
        assert second[name, "test"] == pytest.approx(first[name, "test"], rel=1e-12)
    assert np.isnan(spectral_distance(np.zeros((9, 1)), noise(9, 1)))


def test_masked_entries_change_nothing():
    counts, split = rhythmic(40, 0), np.array(["test", "train"] * 20)
    mask = np.ones(counts.shape, bool)
    mask[:, 50:] = False
    mask[3, 20] = False
    results = []
    for filler in (0, 9):
        trials = Trials.from_arrays(np.where(mask, counts, 0), bin_width=0.01, mask=mask)
        generated = np.where(mask[split == "test"], rhythmic(20, 1), filler)[None]
        results.append([(s.metric, s.value) for s in Generative(generated)(None, trials, split)])
    assert results[0] == results[1]


def test_continuous_signals_have_no_intervals_and_nothing_generated_no_scores():
    trials, split = Trials.from_arrays(noise(20, 30, 4), bin_width=0.01), np.array(["test", "train"] * 10)
    names = {s.metric for s in Generative(noise(2, 10, 30, 4, seed=1))(None, trials, split)}
    assert "gen-ISI-r" not in names and "D_stsp" in names
    assert Generative()(None, trials, split) == []


def test_other_sizes_are_refused_with_the_mend():
    trials = Trials.from_arrays(noise(20, 30, 4), bin_width=0.01)
    with pytest.raises(ValueError, match=r"must be \(draw, 10, 30, 4\).*got \(1, 9, 30, 4\)"):
        Generative(noise(1, 9, 30, 4))(None, trials, np.array(["test", "train"] * 10))
