"""Small random targets and submissions, plain and adversarial, for `nlb_against_original.py metrics`."""

import numpy as np


def random_case(random, kind):
    """A target and a submission of small size, plain or with a quirk."""
    dmfc = kind.startswith("dmfc")
    name = "dmfc_rsg" if dmfc else str(random.choice(["mc_maze", "mc_rtt", "area2_bump", "mc_maze_small", "mc_maze_large"]))
    group = name + str(random.choice(["", "_20"]))
    train, scored, bins, seen, hidden, later = 14, 12, 20, 5, 4, 6
    rate = random.gamma(2, 0.3, (scored, bins, hidden))
    spikes = random.poisson(rate).astype(float)
    forward = {kind: random.poisson(0.5, (scored, later, n)).astype(float) for kind, n in (("heldin", seen), ("heldout", hidden))}
    target = {"eval_spikes_heldout": spikes, **{f"eval_spikes_{kind}_forward": x for kind, x in forward.items()}}
    for part, trials in (("train", train), ("eval", scored)):
        target[f"{part}_behavior"] = random.normal(0, 100, (trials, bins, 2))
        if dmfc:
            condition = np.arange(trials) % 3
            target[f"{part}_behavior"] = np.stack([condition, condition, condition, condition * 100.0, random.normal(700, 50, trials)], 1)
    rates = {f"{part}_rates_{kind}": random.gamma(2, 0.3, (trials, bins, n)) for part, trials in (("train", train), ("eval", scored))
             for kind, n in (("heldin", seen), ("heldout", hidden))}  # fmt: skip
    rates |= {f"eval_rates_{kind}_forward": random.gamma(2, 0.3, x.shape) for kind, x in forward.items()}
    target["psth"] = random.gamma(2, 0.3, (4, bins, seen + hidden))
    target["eval_cond_idx"] = np.array([np.arange(i, scored, 4) for i in range(3)] + [np.array([], int)], object)
    QUIRKS[kind](random, target, rates)
    return {group: target}, {group: rates}


def _some(random, x, value, share=0.1):
    x[random.random(x.shape) < share] = value


def _nothing(random, target, rates):
    pass


def _zero_rates(random, target, rates):
    for x in rates.values():
        _some(random, x, 0.0)


def _tiny_rates(random, target, rates):
    for x in rates.values():
        _some(random, x, 1e-14)
        _some(random, x, 1e6)


def _nan_spikes(random, target, rates):
    _some(random, target["eval_spikes_heldout"], np.nan)
    _some(random, target["eval_spikes_heldin_forward"], np.nan)
    rates["eval_rates_heldout"][np.isnan(target["eval_spikes_heldout"])] = np.nan
    for name in ("psth", "train_behavior", "eval_behavior"):  # whose scores would refuse NaN rates
        target.pop(name) if name == "psth" else target[name].fill(0)
    target["eval_behavior"][np.isnan(rates["eval_rates_heldout"]).any(2)] = np.nan
    target["eval_behavior"] += np.random.default_rng(0).normal(size=target["eval_behavior"].shape)


def _silent_neuron(random, target, rates):
    target["eval_spikes_heldout"][..., 0] = 0


def _no_spikes(random, target, rates):
    target["eval_spikes_heldout"][:] = 0


def _nan_behavior(random, target, rates):
    target["train_behavior"][:3] = np.nan
    target["eval_behavior"][:, -4:] = np.nan


def _groups(random, target, rates):
    for part in ("train", "eval"):
        bump = np.arange(len(target[f"{part}_behavior"])) % 2
        target[f"{part}_decode_mask"] = np.stack([bump == 0, bump == 1], 1)


def _flat_psth(random, target, rates):
    target["psth"][..., 1] = 0.25
    target["psth"][..., 2] = 0.25
    rates["eval_rates_heldin"][..., 2] = 0.25
    target["psth"][:, -5:] = np.nan


def _constant_rates(random, target, rates):
    for x in rates.values():
        x[:] = x.mean((0, 1))


def _jitter(random, target, rates):
    target["eval_jitter"] = np.arange(12) % 5 - 2
    target["psth"][:, :2] = target["psth"][:, -2:] = np.nan


def _segment(random, target, rates):
    for trial, length in enumerate(random.integers(5, 15, len(target["eval_spikes_heldout"]))):
        target["eval_spikes_heldout"][trial, :-length] = np.nan
    target["eval_behavior"][::6] = np.nan


QUIRKS = {"plain": _nothing, "zero rates": _zero_rates, "tiny and huge rates": _tiny_rates, "NaN spikes": _nan_spikes,
          "silent neuron": _silent_neuron, "no spikes": _no_spikes, "NaN behaviour": _nan_behavior, "groups": _groups,
          "flat psth": _flat_psth, "constant rates": _constant_rates, "jitter": _jitter,
          "dmfc": _nothing, "dmfc segment": _segment}  # fmt: skip
