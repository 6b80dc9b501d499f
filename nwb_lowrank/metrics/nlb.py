"""The scores of the Neural Latents Benchmark, computed from a target and a submission as its server did (Pei et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import pearsonr

from .bits_per_spike import poisson_gain
from .decoding import decoding_r2

ORDER = ("mc_maze", "mc_rtt", "area2_bump", "dmfc_rsg", "mc_maze_large", "mc_maze_medium", "mc_maze_small")
SUFFIXES = ("", "_20")
SCALING = {"mc_maze_large": "[500]", "mc_maze_medium": "[250]", "mc_maze_small": "[100]"}  # scored together, by training trials


def evaluate_nlb(target: Mapping[str, Mapping], submission: Mapping[str, Mapping]) -> dict[str, dict[str, float]]:
    """Score every dataset that both hold.

    Parameters
    ----------
    target, submission : mapping of group -> mapping of name -> array
        Groups are named as in the benchmark: 'mc_maze' (5 ms), 'mc_maze_20' (20 ms), ... Arrays are not modified.

    Returns
    -------
    dict
        Split ('mc_maze_split', 'mc_maze_20_split', 'mc_maze_scaling_split', ...) -> metric -> value, where the metrics are
        'co-bps', 'vel R2', 'tp corr', 'psth R2', 'fp-bps', as far as the target allows; those of the scaling datasets begin
        with their number of trials, such as '[100] co-bps'.

    Raises
    ------
    ValueError
        Nothing in common, a missing array, different shapes, or rates that are negative or not finite.

    Notes
    -----
    Where the server's code was particular this follows it: the null model's rates are the means of the evaluated spikes; rates of
    exactly 0 count as 1e-9; NaN spikes are left out; without any spike the score is −inf; the decoder's folds are not shuffled.
    """
    common = [name + suffix for name in ORDER for suffix in SUFFIXES if name + suffix in submission and name + suffix in target]
    if not common:
        raise ValueError(
            f"evaluate_nlb: target and submission must share a dataset; the target has {', '.join(target) or 'none'}, the submission "
            f"{', '.join(submission) or 'none'}. Name its groups as the benchmark does (mc_maze, mc_maze_20, ...)."
        )
    scores: dict[str, dict[str, float]] = {}
    scaling: dict[str, dict[str, float]] = {}
    for group in common:
        suffix = "_20" if group.endswith("_20") else ""
        name = group.removesuffix("_20")
        values = score_group(group, target[group], submission[group])
        if name in SCALING:
            prefixed = {f"{SCALING[name]} {metric}": value for metric, value in values.items()}
            scaling.setdefault(f"mc_maze_scaling{suffix}_split", {}).update(prefixed)
        else:
            scores[f"{group}_split"] = values
    return scores | {split: scaling[split] for split in sorted(scaling, reverse=True)}


def score_group(group: str, target: Mapping, rates: Mapping) -> dict[str, float]:
    """Every score of one dataset; parameters and errors as in `evaluate_nlb`."""
    spikes = _floats(group, target, "eval_spikes_heldout")
    hidden = _floats(group, rates, "eval_rates_heldout")
    everyone = np.concatenate([_floats(group, rates, "eval_rates_heldin"), hidden], axis=-1)
    scores = {"co-bps": bits(hidden, spikes)}
    behavior = {part: _floats(group, target, f"{part}_behavior") for part in ("train", "eval")}
    if group.startswith("dmfc_rsg"):
        scores["tp corr"] = timing_correlation(spikes, everyone, behavior["eval"])
    else:
        train = np.concatenate([_floats(group, rates, f"train_rates_{kind}") for kind in ("heldin", "heldout")], axis=-1)
        masks = [f"{part}_decode_mask" for part in ("train", "eval")]
        groups = [np.asarray(target[mask], bool) if mask in target else None for mask in masks]
        scores["vel R2"] = velocity_r2(train, behavior["train"], everyone, behavior["eval"], *groups)
    if "psth" in target:
        jitter = target["eval_jitter"] if "eval_jitter" in target else None
        scores["psth R2"] = psth_match(_floats(group, target, "psth"), everyone, target["eval_cond_idx"], jitter)
    if "eval_rates_heldin_forward" in rates and "eval_spikes_heldin_forward" in target:
        later = [np.concatenate([_floats(group, source, f"eval_{what}_{kind}_forward") for kind in ("heldin", "heldout")], axis=-1)
                 for source, what in ((rates, "rates"), (target, "spikes"))]  # fmt: skip
        scores["fp-bps"] = bits(*later)
    return scores


def bits(rates: np.ndarray, spikes: np.ndarray) -> float:
    """Bits per spike where spikes are not NaN; −inf when there are none but rates promise some.

    Parameters
    ----------
    rates, spikes : array (trial, bin, neuron)
    """
    gain, total = poisson_gain(rates, spikes, ~np.isnan(spikes))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.float64(gain) / np.float64(total) / np.log(2))


def velocity_r2(train_rates, train_behavior, eval_rates, eval_behavior, train_groups=None, eval_groups=None) -> float:
    """R² of behaviour decoded by ridge regression from the rates of all neurons, averaged over groups of trials.

    Parameters
    ----------
    train_rates, eval_rates : array (trial, bin, neuron)
    train_behavior, eval_behavior : array (trial, bin, C)
        Bins where the first column is NaN are left out.
    train_groups, eval_groups : bool array (trial, group) or None
        A decoder for each group; None: one for all trials.

    Raises
    ------
    ValueError
        NaN rates where behaviour is known, or too few samples.
    """
    train_groups = np.ones((len(train_rates), 1), bool) if train_groups is None else train_groups
    eval_groups = np.ones((len(eval_rates), 1), bool) if eval_groups is None else eval_groups
    scores = []
    for train, scored in zip(train_groups.T, eval_groups.T):
        samples = (*_known(train_rates[train], train_behavior[train]), *_known(eval_rates[scored], eval_behavior[scored]))
        if np.isnan(samples[0]).any() or np.isnan(samples[2]).any():
            raise ValueError("velocity_r2: rates must not be NaN where behaviour is known; some are. Predict every bin.")
        scores.append(decoding_r2(*samples))
    return float(np.mean(scores))


def psth_match(psth: np.ndarray, rates: np.ndarray, trials, jitter=None) -> float:
    """R² of the mean rates of each condition's trials to its PSTH, over conditions and bins, averaged over neurons.

    Parameters
    ----------
    psth : array (condition, bin, neuron)
        Bins where the first neuron's is NaN are left out.
    rates : array (trial, bin, neuron)
    trials : sequence of int arrays
        Evaluated trials of each condition; conditions without any are left out.
    jitter : int array (trial,) or None
        Bins by which each trial's rates are moved to later bins before they are averaged.

    Raises
    ------
    ValueError
        NaN rates, or rates moved away, where the PSTH is known.
    """
    jitter = np.zeros(len(rates), int) if jitter is None else np.asarray(jitter).astype(int)
    truth, prediction = [], []
    for row, chosen in enumerate(trials):
        chosen = np.asarray(chosen, int).reshape(-1)
        if chosen.size:
            known = ~np.isnan(psth[row, :, 0])
            truth.append(psth[row][known])
            prediction.append(np.mean([_moved(rates[trial], jitter[trial]) for trial in chosen], axis=0)[known])
    truth, prediction = np.concatenate(truth), np.concatenate(prediction)
    if np.isnan(prediction).any():
        raise ValueError("psth_match: rates must not be NaN where the PSTH is known; some are. Predict every bin.")
    return _mean_r2(truth, prediction)


def timing_correlation(spikes: np.ndarray, rates: np.ndarray, behavior: np.ndarray) -> float:
    """Pearson correlation between neural speed and produced interval, averaged over conditions (dmfc_rsg).

    Parameters
    ----------
    spikes : array (trial, bin, neuron)
        NaN (in the first neuron) outside the interval between set and go.
    rates : array (trial, bin, neuron)
        The speed is their mean step length inside that interval.
    behavior : array (trial, C)
        The first three columns are the condition, the last the produced interval; NaN rows are left out.

    Raises
    ------
    ValueError
        A condition of a single trial.
    """
    inside = ~np.isnan(spikes[..., 0])
    speed = np.array([np.linalg.norm(np.diff(trial[known], axis=0), axis=1).mean() for trial, known in zip(rates, inside)])
    conditions = np.unique(behavior[:, :3], axis=0)
    conditions = conditions[~np.isnan(conditions).all(axis=1)]
    correlations = []
    for condition in conditions:
        chosen = (behavior[:, :3] == condition).all(axis=1)
        correlations.append(pearsonr(speed[chosen], behavior[chosen, -1])[0])
    return float(np.mean(correlations))


def _known(rates: np.ndarray, behavior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples of all trials one after the other, without those of unknown behaviour."""
    rates, behavior = (x.reshape(-1, x.shape[-1]) if x.ndim > 2 else x for x in (rates, behavior))
    known = ~np.isnan(behavior)[:, 0]
    return rates[known], behavior[known]


def _moved(trial: np.ndarray, bins: int) -> np.ndarray:
    """A trial `bins` later; NaN where nothing is known any more."""
    out = np.full(trial.shape, np.nan)
    if bins >= 0:
        out[bins:] = trial[: len(trial) - bins]
    else:
        out[:bins] = trial[-bins:]
    return out


def _mean_r2(truth: np.ndarray, prediction: np.ndarray) -> float:
    """R² of each column, averaged; a constant column counts 1 when it is met exactly and 0 otherwise, as in scikit-learn."""
    if len(truth) < 2:
        return float("nan")
    error = ((truth - prediction) ** 2).sum(0)
    spread = ((truth - truth.mean(0)) ** 2).sum(0)
    r2 = 1 - np.divide(error, spread, out=np.zeros_like(error), where=spread != 0)
    return float(np.where((spread == 0) & (error != 0), 0.0, r2).mean())


def _floats(group: str, arrays: Mapping, name: str) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"evaluate_nlb: '{group}' must hold {name!r}; it has {', '.join(arrays)}. Add it.")
    return np.array(arrays[name][()], float)
