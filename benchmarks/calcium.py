"""Calcium: events of simulated indicators, and held-out cells of a songbird.

    python benchmarks/calcium.py simulated [--seeds 0 1 2] [--tau 0.4 1.2]
    python benchmarks/calcium.py songbird --nwb songbird_hvc_calcium.nwb [--seeds 0 1 2] [--ranks 2 4]

simulated: 40 neurons at 30 Hz driven by a rank-2 network that decides between two attractors; Poisson spikes, each adding 1 to
an indicator that decays with time constant tau (0.4 s like GCaMP6f, 1.2 s like GCaMP6s), measured with noise of standard
deviation 0.3. The calcium model (AR(1)) and a Gaussian signal model are fitted to 160 trials of 100 frames; scored are
80 other trials. event AUC: area under the ROC curve of frames with and without a spike, all neurons pooled, by the model's
expected events λ(z_t) alone ("latents"), and by the posterior of the frame's own events given λ(z_t) and the frame's rise
("events"); the truth's is that of the true rates.

songbird: 75 cells, 666 deconvolved frames; frames are cut into chunks of 37 (18 chunks), every 6th is tested, every 5th cell is held out:
predicted from the others in the test chunks. R² pooled over held-out cells, against factor analysis of the same rank fitted to the same
training frames (smoothed or not, the better one), whose factors of the shown cells predict the others.
"""

import argparse
import json
import time

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from sklearn.decomposition import FactorAnalysis
from sklearn.metrics import roc_auc_score

import nwb_lowrank as nl
from nwb_lowrank.sources.synthetic import decision_teacher

FRAME = 1 / 30


def simulate(tau, seed, trials=240, frames=100, neurons=40):
    """Fluorescence, spikes and true rates (B, T, N)."""
    teacher = decision_teacher(neurons=neurons, rate=1.0, seed=seed)
    random = np.random.default_rng(seed)
    with torch.no_grad():
        teacher.observation.readout.loadings.mul_(2.0)  # cells that are silent in one choice and active in the other
        teacher.observation.readout.bias.copy_(torch.as_tensor(np.log(0.5 * FRAME) + random.normal(0, 0.5, neurons)))
    z, spikes = teacher.simulate(torch.zeros(trials, frames, 0), seed=seed)
    rates = teacher.observation.mean(z).detach().numpy()
    spikes = spikes.numpy()
    decay, calcium = np.exp(-FRAME / tau), np.zeros((trials, neurons))
    fluorescence = np.zeros_like(spikes)
    for t in range(frames):
        calcium = decay * calcium + spikes[:, t]
        fluorescence[:, t] = calcium + random.normal(0, 0.3, calcium.shape)
    return fluorescence, spikes, rates


def event_posterior(model, rates, y, most=8):
    """E[events of a frame | λ, rise] (B, T, N): Poisson(λ) events of size α, a rise y_t − γ y_{t−1} − β with noise σ."""
    with torch.no_grad():
        gamma, gain, offset = (x.numpy() for x in (model.decay, model.log_gain.exp(), model.offset))
        noise = np.maximum(model.log_sd.exp().numpy(), 1e-3)
    rise = y - offset
    rise[:, 1:] -= gamma * y[:, :-1]
    rise[:, 0] = np.nan
    k = np.arange(most + 1).reshape(-1, 1, 1, 1)
    size = np.maximum(gain, 1e-6)
    log_p = k * np.log(np.maximum(rates, 1e-9)) - np.cumsum(np.log(np.maximum(k, 1)), 0) - 0.5 * ((rise - size * k) / noise) ** 2
    p = np.exp(log_p - log_p.max(0))
    events = (k * p).sum(0) / p.sum(0)
    return np.where(np.isfinite(events), events, rates)


def auc(score, spikes):
    return roc_auc_score((spikes > 0).ravel(), score.ravel())


def simulated(options, settings):
    print(
        f"{'tau':>5}{'seed':>5}{'model':>10}{'latents AUC':>13}{'events AUC':>12}{'true rates':>12}{'raw dF/F':>10}"
        f"{'decay':>16}{'CPU-s':>7}"
    )
    for tau in options.tau:
        for seed in options.seeds:
            y, spikes, rates = simulate(tau, seed)
            trials = nl.Trials.from_arrays(y, bin_width=FRAME)
            train, test = trials.select(slice(0, 160)), trials.select(slice(160, 240))
            began = time.process_time()
            model = nl.LowRankRNN(rank=2, units=32, neurons=y.shape[-1], observation=nl.Calcium())
            fit = nl.fit(model, nl.Encoder(), train, settings, seed=seed)
            took = time.process_time() - began
            posterior = nl.infer(fit, test, particles=64, draws=16, seed=seed, keep_draws=True)
            with torch.no_grad():
                events = fit.model.observation.events(torch.as_tensor(posterior.draws)).mean(0).numpy()
            own = event_posterior(fit.model.observation, events, test.counts)
            decay = fit.model.observation.decay.detach().numpy()
            print(f"{tau:>5}{seed:>5}{'calcium':>10}{auc(events, spikes[160:]):>13.3f}{auc(own, spikes[160:]):>12.3f}"
                  f"{auc(rates[160:], spikes[160:]):>12.3f}{auc(y[160:], spikes[160:]):>10.3f}"
                  f"{decay.mean():>8.3f} ({np.exp(-FRAME / tau):.3f}){took:>7.0f}", flush=True)  # fmt: skip


def factor_r2(train, test, held_out, rank):
    """R² of held-out cells by factor analysis of `rank`, with the smoothing of the frames that suits the test set best."""
    best = -np.inf
    for width in (0, 1, 2, 3, 5):

        def smooth(x):
            return gaussian_filter1d(x, width, axis=1, mode="nearest") if width else x

        analysis = FactorAnalysis(rank, svd_method="lapack").fit(smooth(train).reshape(-1, train.shape[-1]))
        shown, C, psi = ~held_out, analysis.components_.T, analysis.noise_variance_
        weighted = C[shown] / psi[shown][:, None]
        factors = (smooth(test) - analysis.mean_)[..., shown] @ weighted @ np.linalg.inv(np.eye(rank) + C[shown].T @ weighted)
        best = max(best, r2(factors @ C[held_out].T + analysis.mean_[held_out], test[..., held_out], train[..., held_out]))
    return best


def r2(predicted, truth, train):
    return 1 - ((predicted - truth) ** 2).sum() / ((truth - train.mean((0, 1))) ** 2).sum()


def songbird(options, settings):
    trials = nl.read_nwb(options.nwb, chunk=37 / 30)
    whole = trials.mask.all((1, 2))
    trials = trials.select(whole)
    held_out = np.arange(trials.neurons) % 5 == 2
    trials = trials.hide(held_out)
    test = np.arange(len(trials)) % 6 == 3
    models = dict(gamma=nl.ZeroInflatedGamma, calcium=nl.Calcium, gaussian=nl.GaussianSignal)
    print(f"{len(trials)} chunks of {trials.bins} frames, {test.sum()} tested; {held_out.sum()} of {trials.neurons} cells held out")
    print(f"{'rank':>5}{'model':>10}{'R2':>9} ± sd of {len(options.seeds)} seeds{'factor analysis':>18}{'CPU-s':>7}")
    for rank in options.ranks:
        factor = factor_r2(trials.counts[~test], trials.counts[test], held_out, rank)
        for name in options.models:
            scores, began = [], time.process_time()
            for seed in options.seeds:
                model = nl.LowRankRNN(rank=rank, units=32, neurons=trials.neurons, observation=models[name]())
                fit = nl.fit(model, nl.Encoder(channels=16), trials.select(~test), settings, seed=seed)
                rates = nl.infer(fit, trials.select(test), seed=seed).rates
                scores.append(r2(rates[..., held_out], trials.counts[test][..., held_out], trials.counts[~test][..., held_out]))
            sd = np.std(scores, ddof=1) if len(scores) > 1 else np.nan
            took = (time.process_time() - began) / len(scores)
            print(f"{rank:>5}{name:>10}{np.mean(scores):>9.4f} ± {sd:.4f}{'':>12}{factor:>18.4f}{took:>7.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulated", "songbird"))
    parser.add_argument("--nwb")
    parser.add_argument("--tau", type=float, nargs="+", default=[0.4, 1.2], help="seconds")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--models", nargs="+", default=["gamma", "calcium", "gaussian"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="fields of FitSettings")
    options = parser.parse_args()
    settings = nl.FitSettings(**{name: json.loads(value) for name, value in (pair.split("=") for pair in options.set)})
    {"simulated": simulated, "songbird": songbird}[options.what](options, settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
