"""Calcium: events of simulated indicators, and held-out cells of a songbird.

    python benchmarks/calcium.py simulated [--seeds 0 1 2] [--tau 0.4 1.2] [--rise 0 0.05]
    python benchmarks/calcium.py songbird --nwb songbird_hvc_calcium.nwb [--seeds 0 1 2] [--ranks 2 4] [--models gaussian gamma calcium]

simulated: 40 neurons at 30 Hz driven by a rank-2 network that decides between two attractors: rates of 0.03 to 12 Hz (5th to 95th
percentile), mean 3 Hz, 6 % of frames with spikes. A spike adds a transient of 0.2 dF/F (log-normal over cells, sd 30 %) that decays with
time constant tau (0.4 s like GCaMP6f, 1.2 s like GCaMP6s) and rises at once or with time constant rise; each frame has white noise of sd
0.06 dF/F (log-normal, 30 %): one spike is 3.3 times the noise.
The calcium model (AR(1)) is fitted to 160 trials of 100 frames; scored are 80 others. Area under the ROC curve of frames with a spike
against frames without, for each neuron by itself (mean over neurons) and for all neurons' frames pooled; without each trial's first
frame, before which nothing is known. Scores of a frame:
  events       the calcium model's events, given latents and rise (nl.calcium_events)
  latents      λ(z_t) alone
  deconvolved  non-negative deconvolution of each trace by itself with the true decay
  rise         y_t − γ y_{t−1} with the true decay
  dF/F         the trace
  true rates   the rate that the spikes were drawn from

songbird: 74 cells, 666 deconvolved frames in 18 chunks of 37. Every 6th chunk is tested after training on the others, six times; of the
test chunks every 5th cell is predicted from the others, five times. R² pooled over all cells and chunks. Factor analysis sees the
frames smoothed, by the width that predicts held-out cells best in cross-validation within the training chunks, or, to
its advantage, by the width that suits the test chunks best. The network's settings are the same in all folds: 15 chunks leave none to
spare for validation, so the fit is the warm start's, and its rates are smoothed marginals, without the noise of drawing.
"""

import argparse
import json
import time
from itertools import product

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from sklearn.decomposition import FactorAnalysis
from sklearn.metrics import roc_auc_score

import nwb_lowrank as nl
from nwb_lowrank.sources.synthetic import decision_teacher

FRAME = 1 / 30
WIDTHS = (0, 0.5, 0.75, 1, 1.5, 2)  # of the frames' smoothing before factor analysis


def simulate(tau, seed, rise=0.0, trials=240, frames=100, neurons=40, before=15):
    """dF/F, spikes and true rates (B, T, N); `before` frames are cut off, so that trials begin with the calcium of earlier spikes."""
    teacher = decision_teacher(neurons=neurons, rate=1.0, seed=seed)
    random = np.random.default_rng(seed)
    with torch.no_grad():
        teacher.observation.readout.loadings.mul_(2.0)  # cells that are silent in one choice and active in the other
        teacher.observation.readout.bias.copy_(torch.as_tensor(np.log(0.5 * FRAME) + random.normal(0, 0.5, neurons)))
    z, spikes = teacher.simulate(torch.zeros(trials, before + frames, 0), seed=seed)
    rates, spikes = teacher.observation.mean(z).detach().numpy(), spikes.numpy()
    size, noise = (x * np.exp(random.normal(0, 0.3, neurons)) for x in (0.2, 0.06))
    fast, slow = np.exp(-FRAME / rise) if rise else 0.0, np.exp(-FRAME / tau)
    lag = np.arange(300)
    peak = ((slow ** (lag + 1) - fast ** (lag + 1)) / (slow - fast)).max()
    bound, calcium, traces = np.zeros((trials, neurons)), np.zeros((trials, neurons)), []
    for t in range(before + frames):
        bound = fast * bound + size / peak * spikes[:, t]
        calcium = slow * calcium + bound
        traces.append(calcium + noise * random.normal(size=calcium.shape))
    return np.stack(traces, 1)[:, before:], spikes[:, before:], rates[:, before:]


def deconvolved(y, gamma):
    """Non-negative deconvolution (B, T, N): s_t = c_t − γ c_{t−1} ≥ 0, least Σ (y − c)² (pools of Friedrich, Zhou, Paninski 2017)."""
    c = np.empty_like(y)
    for b, n in np.ndindex(len(y), y.shape[-1]):
        pools = []  # of value at the pool's first frame, weight, length
        for value in y[b, :, n]:
            pools.append((value, 1.0, 1))
            while len(pools) > 1 and pools[-1][0] < gamma ** pools[-2][2] * pools[-2][0]:
                (v, w, length), (u, x, more) = pools[-2:]
                share = gamma**length
                pools[-2:] = [((w * v + share * x * u) / (w + share**2 * x), w + share**2 * x, length + more)]
        c[b, :, n] = np.concatenate([max(v, 0) * gamma ** np.arange(length) for v, _, length in pools])
    return np.diff(c, axis=1, prepend=0) + (1 - gamma) * np.concatenate([0 * c[:, :1], c[:, :-1]], 1)


def auc(score, spikes):
    """Of frames with a spike against frames without, no trial's first: mean over neurons with 5 or more of either, and pooled."""
    event, score = spikes[:, 1:] > 0, score[:, 1:]
    event, score = event.reshape(-1, event.shape[-1]), score.reshape(-1, event.shape[-1])
    each = [roc_auc_score(e, s) for e, s in zip(event.T, score.T) if 5 <= e.sum() <= e.size - 5]
    return np.array([np.mean(each), roc_auc_score(event.ravel(), score.ravel())])


def spread(values):
    """Standard deviation over seeds."""
    return np.std(values, 0, ddof=1) if len(values) > 1 else np.full(np.shape(values[0]), np.nan)


def simulated(options, settings):
    names = ("events", "latents", "deconvolved", "rise", "dF/F", "true rates")
    heads = "".join(f"{name:>15}" for name in names)
    print(f"AUC by neuron / pooled\n{'tau':>5}{'rise':>6}{'seed':>6}{heads}{'decay (true)':>16}{'CPU-s':>7}")
    for tau, rise in product(options.tau, options.rise):
        table = []
        for seed in options.seeds:
            y, spikes, rates = simulate(tau, seed, rise)
            trials = nl.Trials.from_arrays(y, bin_width=FRAME)
            train, test = trials.select(slice(0, 160)), trials.select(slice(160, 240))
            began = time.process_time()
            model = nl.LowRankRNN(rank=2, units=32, neurons=y.shape[-1], observation=nl.Calcium())
            fit = nl.fit(model, nl.Encoder(), train, settings, seed=seed)
            took = time.process_time() - began
            posterior = nl.infer(fit, test, particles=64, draws=16, seed=seed, keep_draws=True)
            model, gamma = fit.model.observation, np.exp(-FRAME / tau)
            with torch.no_grad():
                rate, decay = model.events(torch.as_tensor(posterior.draws)).mean(0).numpy(), model.decay.numpy()
            rise_of = np.diff(test.counts, axis=1, prepend=0) + (1 - gamma) * np.roll(test.counts, 1, 1)  # y_t − γ y_{t−1}
            events = nl.calcium_events(fit, test, posterior).expected
            scores = (events, rate, deconvolved(test.counts, gamma), rise_of, test.counts, rates[160:])
            table.append([auc(score, spikes[160:]) for score in scores])
            print(f"{tau:>5}{rise:>6}{seed:>6}" + "".join(f"{a:>8.3f} /{b:.3f}" for a, b in table[-1])
                  + f"{np.median(decay):>9.3f} ({gamma:.3f}){took:>6.0f}", flush=True)  # fmt: skip
        for name, m, s in zip(names, np.mean(table, 0), spread(table)):
            print(f"{'':>5}{name:>12}: {m[0]:.3f} ± {s[0]:.3f} by neuron, {m[1]:.3f} ± {s[1]:.3f} pooled (mean ± sd of {len(table)} seeds)")


def groups(cells):
    """Five sets of cells, each held out in turn."""
    return [np.arange(cells) % 5 == group for group in range(5)]


def factor_rates(train, test, rank, width):
    """Every cell of the test frames from the other four groups' factors, frames smoothed by `width` in both."""

    def smooth(x):
        return gaussian_filter1d(x, width, axis=1, mode="nearest") if width else x

    analysis = FactorAnalysis(rank, svd_method="lapack").fit(smooth(train).reshape(-1, train.shape[-1]))
    C, psi, rates = analysis.components_.T, analysis.noise_variance_, np.zeros(test.shape)
    for held_out in groups(train.shape[-1]):
        weighted = C[~held_out] / psi[~held_out][:, None]
        factors = (smooth(test) - analysis.mean_)[..., ~held_out] @ weighted @ np.linalg.inv(np.eye(rank) + C[~held_out].T @ weighted)
        rates[..., held_out] = factors @ C[held_out].T + analysis.mean_[held_out]
    return rates


def network_rates(train, test, rank, name, settings, seed):
    """The same from the network: fitted once to all cells of the training chunks, then shown four groups of the test chunks."""
    kind = dict(gamma=nl.ZeroInflatedGamma, calcium=nl.Calcium, gaussian=nl.GaussianSignal)[name]
    model = nl.LowRankRNN(rank=rank, units=32, neurons=train.neurons, observation=kind())
    fit = nl.fit(model, nl.LinearGaussian() if name == "gaussian" else nl.Laplace(), train, settings, seed=seed)
    rates, remembers = np.zeros(test.counts.shape), fit.model.observation.reach
    for held_out in groups(train.neurons):
        found = nl.infer(fit, test.hide(held_out), particles=256, draws=256 if remembers else 1, marginal=not remembers, seed=seed)
        rates[..., held_out] = found.rates[..., held_out]
    return rates


def cross_validated(y, rows, fold, predict):
    """R² pooled over the chunks `rows` and all cells, each fold predicted after training on the rest: against the training means."""
    error = total = 0.0
    for number in np.unique(fold[rows]):
        train, test = rows[fold[rows] != number], rows[fold[rows] == number]
        error += ((predict(train, test) - y[test]) ** 2).sum()
        total += ((y[train].mean((0, 1)) - y[test]) ** 2).sum()
    return 1 - error / total


def songbird(options, settings):
    trials = nl.read_nwb(options.nwb, chunk=37 / 30)
    trials = trials.select(trials.mask.all((1, 2)))
    y, rows, fold = trials.counts, np.arange(len(trials)), np.arange(len(trials)) % 6
    print(f"{len(trials)} chunks of {trials.bins} frames in 6 folds, {trials.neurons} cells in 5 groups, each held out once; {settings}")

    def factor(width):
        return lambda train, test: factor_rates(y[train], y[test], rank, width)

    def chosen(train, test):
        return factor(max(WIDTHS, key=lambda width: cross_validated(y, train, fold, factor(width))))(train, test)

    for rank in options.ranks:
        hindsight = max(cross_validated(y, rows, fold, factor(width)) for width in WIDTHS)
        nested = cross_validated(y, rows, fold, chosen)
        print(f"rank {rank}: factor analysis, width by validation {nested:.4f}, best width in hindsight {hindsight:.4f}", flush=True)
        for name in options.models:
            began = time.process_time()
            scores = [
                cross_validated(y, rows, fold, lambda train, test: network_rates(  # noqa: B023
                    trials.select(train), trials.select(test), rank, name, settings, seed))  # noqa: B023
                for seed in options.seeds
            ]  # fmt: skip
            sd, took = spread(scores), (time.process_time() - began) / len(scores)
            print(f"rank {rank}: {name:<9} {np.mean(scores):.4f} ± {sd:.4f} (sd, {len(scores)} seeds), {took:.0f} CPU-s a seed", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulated", "songbird"))
    parser.add_argument("--nwb")
    parser.add_argument("--tau", type=float, nargs="+", default=[0.4, 1.2], help="seconds")
    parser.add_argument("--rise", type=float, nargs="+", default=[0.0], help="seconds: time constant of the indicator's rise")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--models", nargs="+", default=["gaussian"], choices=("gaussian", "gamma", "calcium"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of FitSettings")
    options = parser.parse_args()
    start = dict(steps=0, warm_rounds=150) if options.what == "simulated" else dict(steps=0, warm_rounds=80, validation=0.0)
    settings = nl.FitSettings(**start | {name: json.loads(value) for name, value in (pair.split("=") for pair in options.set)})
    {"simulated": simulated, "songbird": songbird}[options.what](options, settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
