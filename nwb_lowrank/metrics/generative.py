"""Does activity that the model generates look like the recording? Each statistic beside its train-test ceiling."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import logsumexp

from ..results import Score
from .base import Metric

MOST_POINTS = 10_000
SAMPLES = 1_000  # Monte Carlo draws of the divergence
SPECTRAL_SMOOTHING = 20  # frequency bins
LONG = 1_000  # bins from which one trial's spectrum is smoothed; shorter ones are averaged over trials instead
FEWEST_BINS = 8  # of a spectrum
FEWEST_INTERVALS = 10  # of a neuron whose intervals are compared


def state_space_divergence(truth, generated, *, seed: int = 0, samples: int = SAMPLES) -> float:
    """D_stsp: KL(truth ‖ generated) between Gaussian mixtures with one unit-variance component per time point, nats.

    ∫ p log(p/q) by Monte Carlo over draws from p (Koppe et al. 2019; Brenner et al. 2022), both z-scored by the caller.

    Parameters
    ----------
    truth, generated : array (points, N)
        Thinned at random to 10,000 points.
    seed : int
    samples : int

    Returns
    -------
    float
        Its Monte-Carlo error falls as 1/√samples; repeat with other seeds.
    """
    random = np.random.default_rng(seed)
    truth, generated = (_thinned(np.asarray(x, float), random) for x in (truth, generated))
    centres = truth[random.integers(len(truth), size=samples)]
    drawn = centres + random.standard_normal(centres.shape)
    return float((_log_mixture(drawn, truth) - _log_mixture(drawn, generated)).mean())


def spectral_distance(truth, generated, *, smoothing: float = SPECTRAL_SMOOTHING) -> float:
    """D_H: Hellinger distance √(1 − Σ√(pq)) of normalised power spectra, mean over channels; between 0 and 1.

    Parameters
    ----------
    truth, generated : array (T, N) or (B, T, N)
        Each channel is z-scored; |FFT|² is averaged over trials, then smoothed. Cut to the shorter T. Channels in which the truth
        is constant have no spectrum and are left out.
    smoothing : float
        Standard deviation of a Gaussian along frequencies, bins; 0: none.
    """
    truth, generated = (x if x.ndim == 3 else x[None] for x in (np.asarray(truth, float), np.asarray(generated, float)))
    bins = min(truth.shape[1], generated.shape[1])
    p, q = (_spectrum(x[:, :bins], smoothing) for x in (truth, generated))
    distance = np.sqrt(np.maximum(0, 1 - np.sqrt(p * q).sum(0)))[p.any(0)]
    return float(distance.mean()) if len(distance) else float("nan")


def intervals(counts, mask=None) -> list[np.ndarray]:
    """Inter-spike intervals of every neuron, bins; spikes of one bin lie evenly in it, and no interval spans a trial's end or a gap.

    counts, mask : array (B, T, N) -> N arrays
    """
    counts = np.asarray(counts)
    mask = np.ones(counts.shape, bool) if mask is None else np.broadcast_to(mask, counts.shape)
    B, T, N = counts.shape
    bins = np.arange(B * T)
    found = []
    for neuron in range(N):
        alive = mask[..., neuron].ravel()
        # stretches without a gap: a new one begins with every trial and behind every unrecorded bin
        stretch = np.cumsum(~alive | (bins % T == 0))
        spikes = np.where(alive, counts[..., neuron].ravel(), 0).astype(int)
        where = np.repeat(bins, spikes)
        order = np.arange(len(where)) - np.repeat(np.cumsum(spikes) - spikes, spikes)
        times = where + (order + 0.5) / np.repeat(spikes, spikes)
        found.append(np.diff(times)[np.diff(stretch[where]) == 0])
    return found


class Generative(Metric):
    """Generated trials against the test trials, with training trials in their place as the ceiling.

    Parameters
    ----------
    generated : array (S, B, T, N) or None
        S draws for the B test trials, in their order (`generate`); None: nothing is scored.
    seed : int
        Of the Monte Carlo divergence.

    Notes
    -----
    Pearson r over neurons (or pairs): 'gen-rate-r', 'gen-ISI-r', 'gen-ISI-CV-r', 'gen-corr-r'. Distances, 0 at best: 'D_H' (power
    spectra, `spectral_distance`), 'gen-pop-H' (Hellinger distance of the distribution of the population's mean count per bin),
    'D_stsp' (`state_space_divergence`, z-scored by the test trials, without neurons that are constant there). Scores of split
    'ceiling' are those of as many training trials.
    Values are means over the draws; the note gives the Monte-Carlo error.
    """

    def __init__(self, generated=None, *, seed: int = 0):
        self.generated, self.seed = generated, seed

    def __call__(self, posterior, trials, split):
        if self.generated is None:
            return []
        test, train = np.flatnonzero(split == "test"), np.flatnonzero(split == "train")
        generated = np.asarray(self.generated, float)
        expected = (len(test), *trials.counts.shape[1:])
        if generated.ndim != 4 or generated.shape[1:] != expected:
            raise ValueError(f"Generative: generated must be (draw, {', '.join(map(str, expected))}) for the test trials; got "
                             f"{generated.shape}. Use generate(fit, trials.select(split == 'test')).")  # fmt: skip
        random = np.random.default_rng(self.seed)
        truth, mask = trials.counts[test], trials.mask[test]
        draws = [_statistics(truth, mask, draw, mask, trials.is_counts, self.seed + n) for n, draw in enumerate(generated)]
        rows = random.permutation(train)[: len(test)]
        ceiling = [_statistics(truth, mask, trials.counts[rows], trials.mask[rows], trials.is_counts, self.seed)] if len(rows) else []
        scores = [
            *_scores(draws, "test", f"generated, {len(draws)} draws", trials.bin_width),
            *_scores(ceiling, "ceiling", f"{len(rows)} training trials in place of the generated", trials.bin_width),
        ]
        names = [score.metric for score in scores]
        return sorted(scores, key=lambda score: names.index(score.metric))  # each beside its ceiling


def _scores(repeats: list[dict], split: str, note: str, bin_width: float) -> list[Score]:
    """Means over the repeats with their standard errors; statistics that no repeat could give are left out."""
    scores = []
    for name in repeats[0] if repeats else ():
        values = np.array([repeat[name] for repeat in repeats])
        values = values[np.isfinite(values)]
        if len(values):
            error = f"± {values.std(ddof=1) / len(values) ** 0.5:.2g}, " if len(values) > 1 else ""
            scores.append(Score(name, float(values.mean()), split, bin_width, error + note))
    return scores


def _statistics(truth, truth_mask, other, other_mask, counts: bool, seed: int) -> dict[str, float]:
    """Every statistic of one set of trials against another of the same neurons."""
    pair = ((truth, truth_mask), (other, other_mask))
    found = {"gen-rate-r": _pearson(*(_moments(*x)[0] for x in pair))}
    if counts:
        for name, statistic in (("gen-ISI-r", np.mean), ("gen-ISI-CV-r", _variation)):
            values = [[statistic(x) if len(x) >= FEWEST_INTERVALS else np.nan for x in intervals(*p)] for p in pair]
            found[name] = _pearson(*values)
    found["gen-corr-r"] = _pearson(*(_correlations(*x) for x in pair))
    bins = int(np.logical_and.accumulate(truth_mask.all((0, 2)) & other_mask.all((0, 2))).sum())  # from the start, in every trial
    if bins >= FEWEST_BINS:
        smoothing = SPECTRAL_SMOOTHING if bins >= LONG else 0
        found["D_H"] = spectral_distance(truth[:, :bins], other[:, :bins], smoothing=smoothing)
    found["gen-pop-H"] = _population(*pair)
    rows = [x[mask.all(-1)] for x, mask in pair]
    if all(len(x) for x in rows):
        varies = np.ptp(rows[0], axis=0) > 0  # a constant has no unit to measure in: one spike more would be infinitely far
        mean, sd = rows[0][:, varies].mean(0), rows[0][:, varies].std(0)
        if varies.any():
            found["D_stsp"] = state_space_divergence(*((x[:, varies] - mean) / sd for x in rows), seed=seed)
    return found


def _moments(values, mask) -> tuple[np.ndarray, np.ndarray]:
    """(N,) mean and sd over the recorded entries."""
    size = np.maximum(mask.sum((0, 1)), 1)
    mean = np.where(mask, values, 0).sum((0, 1)) / size
    return mean, np.sqrt((np.where(mask, values - mean, 0) ** 2).sum((0, 1)) / size)


def _correlations(values, mask) -> np.ndarray:
    """Pairwise correlations over all bins in which both neurons are recorded, upper triangle; NaN for a constant neuron."""
    mean, sd = _moments(values, mask)
    standard = (np.where(mask, values - mean, 0) / np.where(sd > 0, sd, np.nan)).reshape(-1, len(mean))
    both = mask.reshape(-1, len(mean)).astype(float)
    return ((standard.T @ standard) / np.maximum(both.T @ both, 1))[np.triu_indices(len(mean), 1)]


def _population(first, second) -> float:
    """Hellinger distance of the histograms of the population's mean count (or signal) per bin, over the recorded neurons."""
    means = [np.where(mask, x, 0).sum(-1)[mask.any(-1)] / mask.sum(-1)[mask.any(-1)] for x, mask in (first, second)]
    edges = np.unique(np.quantile(means[0], np.linspace(0, 1, 21)))  # twenty classes of equal share
    if len(edges) < 2:
        return float("nan")
    edges[0], edges[-1] = -np.inf, np.inf
    p, q = (np.histogram(x, edges)[0] / len(x) for x in means)
    return float(np.sqrt(max(0.0, 1 - np.sqrt(p * q).sum())))


def _pearson(x, y) -> float:
    x, y = np.asarray(x, float), np.asarray(y, float)
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and x.std() > 0 and y.std() > 0 else float("nan")


def _variation(x: np.ndarray) -> float:
    """Coefficient of variation."""
    return float(x.std() / x.mean())


def _spectrum(values: np.ndarray, smoothing: float) -> np.ndarray:
    """(frequencies, N) normalised power spectrum of (B, T, N)."""
    sd = values.std((0, 1))
    standard = (values - values.mean((0, 1))) / np.where(sd > 0, sd, 1)
    power = (np.abs(np.fft.rfft(standard, axis=1)) ** 2).mean(0)
    if smoothing:
        power = gaussian_filter1d(power, smoothing, axis=0)
    return power / np.maximum(power.sum(0), 1e-300)


def _log_mixture(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """log of the mixture density at x (S, N), up to the constant that both mixtures share."""
    squared = (x**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * x @ centres.T
    return logsumexp(-0.5 * squared, axis=1) - np.log(len(centres))


def _thinned(points: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return points if len(points) <= MOST_POINTS else points[random.permutation(len(points))[:MOST_POINTS]]
