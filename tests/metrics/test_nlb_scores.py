"""The benchmark's scores: recorded values of nlb_tools, nulls, oracles, invariances, and the scores that reward correct dynamics."""

import copy
import json
from pathlib import Path

import nlb_cases
import numpy as np
import pytest

from nwb_lowrank.metrics.cross_decoding import cross_decoding
from nwb_lowrank.metrics.few_shot import few_shot_bits
from nwb_lowrank.metrics.nlb import bits, evaluate_nlb, psth_match, timing_correlation, velocity_r2

EXPECTED = json.loads((Path(nlb_cases.__file__).parent / "nlb_expected.json").read_text())


@pytest.fixture
def case():
    """Poisson spikes of known rates in the arrays of mc_maze_20, behaviour linear in the rates."""
    random = np.random.default_rng(0)
    sizes, bins, units = dict(train=20, eval=15), 12, dict(heldin=6, heldout=4)
    target, rates, everyone = {}, {}, {}
    weights = random.normal(size=(10, 2))
    for part, trials in sizes.items():
        log_rate = random.normal(-0.3, 0.8, (trials, bins, 10))
        everyone[part] = np.exp(log_rate)
        target[f"{part}_behavior"] = everyone[part] @ weights
        rates[f"{part}_rates_heldin"], rates[f"{part}_rates_heldout"] = np.split(everyone[part], [6], axis=2)
    target["eval_spikes_heldout"] = random.poisson(rates["eval_rates_heldout"]).astype(float)
    target["eval_cond_idx"] = [np.arange(0, 15, 2), np.arange(1, 15, 2)]
    target["psth"] = np.stack([everyone["eval"][index].mean(0) for index in target["eval_cond_idx"]])
    for kind, size in units.items():
        rates[f"eval_rates_{kind}_forward"] = np.exp(random.normal(-0.3, 0.8, (15, 5, size)))
        target[f"eval_spikes_{kind}_forward"] = random.poisson(rates[f"eval_rates_{kind}_forward"]).astype(float)
    return target, rates


def scores_of(target, rates):
    return evaluate_nlb({"mc_maze_20": target}, {"mc_maze_20": rates})["mc_maze_20_split"]


@pytest.mark.parametrize("kind", ["velocity", "timing"])
def test_scores_are_those_of_nlb_tools_and_nothing_is_modified(kind):
    target, rates = nlb_cases.score_case(kind)
    before = copy.deepcopy((target, rates))
    (values,) = evaluate_nlb(target, rates).values()
    assert values == pytest.approx(EXPECTED[kind], rel=1e-9)
    for now, then in zip((target, rates), before):
        for (group, arrays), old in zip(now.items(), then.values()):
            assert all(np.array_equal(np.concatenate([*x]) if isinstance(x, list) else x,
                                      np.concatenate([*y]) if isinstance(y, list) else y, equal_nan=True)
                       for x, y in zip(arrays.values(), old.values())), group  # fmt: skip


def test_the_null_model_scores_zero(case):
    target, rates = case
    null = {name: np.broadcast_to(target[name.replace("rates", "spikes")].mean((0, 1)), x.shape) for name, x in rates.items()
            if name.replace("rates", "spikes") in target}  # fmt: skip
    values = scores_of(target, rates | null)
    assert values["co-bps"] == pytest.approx(0, abs=1e-12) and values["fp-bps"] == pytest.approx(0, abs=1e-12)


def test_true_rates_score_the_oracle(case):
    target, rates = case
    values = scores_of(target, rates)
    assert values["co-bps"] == bits(rates["eval_rates_heldout"], target["eval_spikes_heldout"]) > 0
    assert values["psth R2"] == pytest.approx(1) and values["vel R2"] == pytest.approx(1, abs=1e-5)  # but for the ridge
    assert all(scores_of(target, {name: x**power for name, x in rates.items()})["co-bps"] < values["co-bps"] for power in (0.7, 1.3))


def test_a_permutation_of_units_changes_nothing(case):
    target, rates = case
    order = {"heldin": np.random.default_rng(1).permutation(6), "heldout": np.random.default_rng(2).permutation(4)}
    both = np.concatenate([order["heldin"], 6 + order["heldout"]])
    shuffled = {name: x[..., order[kind]] for name, x in (target | rates).items() for kind in order if f"_{kind}" in name}
    moved = target | {name: x for name, x in shuffled.items() if name in target} | {"psth": target["psth"][..., both]}
    assert scores_of(moved, {name: shuffled[name] for name in rates}) == pytest.approx(scores_of(target, rates), rel=1e-9)


def test_a_permutation_of_trials_changes_the_decoding_alone(case):
    target, rates = case
    order = np.random.default_rng(1).permutation(15)
    place = np.argsort(order)
    moved = {name: x[order] if name.startswith("eval") and name != "eval_cond_idx" else x for name, x in target.items()}
    moved["eval_cond_idx"] = [place[index] for index in target["eval_cond_idx"]]
    values, expected = scores_of(moved, {name: x[order] if "eval" in name else x for name, x in rates.items()}), scores_of(target, rates)
    assert values == pytest.approx(expected, rel=1e-9)  # the order of scored trials does not touch the decoder; that of training trials may


def test_scaling_datasets_are_scored_together(case):
    groups = [{f"mc_maze_{size}{suffix}": part for size in ("small", "large") for suffix in ("", "_20")} for part in case]
    values = evaluate_nlb(*groups)
    assert set(values) == {"mc_maze_scaling_split", "mc_maze_scaling_20_split"}
    assert {"[100] co-bps", "[500] co-bps"} <= set(values["mc_maze_scaling_split"])


@pytest.mark.parametrize("spoil, message", [
    (lambda t, r: r.pop("eval_rates_heldin"), "must hold 'eval_rates_heldin'"),
    (lambda t, r: r.update(eval_rates_heldout=r["eval_rates_heldout"][:-1]), "shape|dimensions"),
    (lambda t, r: r["eval_rates_heldout"].__setitem__((0, 0, 0), np.nan), "finite"),
    (lambda t, r: r["eval_rates_heldout"].__setitem__((0, 0, 0), -1.0), "negative"),
    (lambda t, r: r["train_rates_heldin"].__setitem__((0, 0, 0), np.nan), "NaN where behaviour is known"),
])  # fmt: skip
def test_bad_submissions_are_refused(case, spoil, message):
    spoil(*case)
    with pytest.raises(ValueError, match=message):
        scores_of(*case)


def test_nothing_in_common_is_an_error_not_an_empty_list(case):
    with pytest.raises(ValueError, match="must share a dataset"):
        evaluate_nlb({"mc_maze": case[0]}, {"mc_maze_20": case[1]})


def test_no_spikes_and_zero_rates_follow_the_server():
    assert bits(np.full((1, 2, 1), 0.5), np.zeros((1, 2, 1))) == -np.inf
    rates, spikes = np.array([[[0.0], [1.0]]]), np.ones((1, 2, 1))
    assert bits(rates, spikes) == pytest.approx((np.log(1e-9) - 1e-9 - 1 + 2) / 2 / np.log(2)) and rates[0, 0, 0] == 0
    known, spikes = np.array([[[0.3], [1.0]]]), np.array([[[np.nan], [1.0]]])
    assert bits(known, spikes) == pytest.approx(0)  # the one known bin is predicted as its own mean


def test_timing_correlation_of_speed_that_is_the_interval():
    interval = np.array([1.0, 2.0, 4.0, 3.0, 1.5, 2.5])
    rates = np.arange(5.0)[None, :, None] * interval[:, None, None] * np.ones(2)
    behavior = np.concatenate([np.repeat([[0, 0, 0], [1, 0, 0]], 3, axis=0), interval[:, None]], 1)
    assert timing_correlation(np.zeros((6, 5, 1)), rates, behavior) == pytest.approx(1)
    assert timing_correlation(np.zeros((6, 5, 1)), rates / interval[:, None, None] ** 2, behavior) < 0


def test_jittered_psth_is_matched_after_moving_back():
    psth = np.random.default_rng(0).normal(size=(1, 10, 3))
    psth[:, :3] = np.nan
    early = np.stack([np.roll(np.nan_to_num(psth[0]), -bins, axis=0) for bins in (0, 1, 2)])
    assert psth_match(psth, early, [np.arange(3)], np.array([0, 1, 2])) == pytest.approx(1)


def test_groups_have_decoders_of_their_own():
    """Two groups whose behaviour depends on the rates with opposite signs: one decoder fails, two do not."""
    random = np.random.default_rng(0)
    rates, bump = random.random((40, 10, 3)), np.arange(40) % 2
    velocity = np.where(bump, 1, -1)[:, None, None] * rates[..., :2]
    groups = np.stack([bump == 0, bump == 1], 1)
    assert velocity_r2(rates, velocity, rates, velocity, groups, groups) > 0.95
    assert velocity_r2(rates, velocity, rates, velocity) < 0.1


def test_few_shots_reward_latents_without_superfluous_dimensions():
    random = np.random.default_rng(0)
    z = random.normal(size=(80, 20, 2))
    counts = random.poisson(np.exp(z @ random.normal(0, 0.6, (2, 8)) - 1))
    bloated = np.concatenate([z, random.normal(size=(80, 20, 12))], 2)
    good, bad = (few_shot_bits(x[:60], counts[:60], x[60:], counts[60:], shots=(3, 60), repeats=4) for x in (z, bloated))
    assert list(good["shots"]) == [3, 60] and list(good["choices"]) == [4, 1]
    assert good["bits_per_spike"][0] > bad["bits_per_spike"][0] + 0.02  # with few trials noise dimensions cost samples
    assert good["bits_per_spike"][1] - bad["bits_per_spike"][1] < good["bits_per_spike"][0] - bad["bits_per_spike"][0]
    oracle = bits(np.exp(z[60:] @ random.normal(0, 0, (2, 8)) - 1), counts[60:].astype(float))
    assert good["bits_per_spike"][1] > oracle


def test_cross_decoding_finds_what_is_shared():
    random = np.random.default_rng(0)
    z, own = random.normal(size=(60, 10, 3)), random.normal(size=(60, 10, 2))
    fits = [z @ random.normal(size=(3, 3)), np.concatenate([z @ random.normal(size=(3, 3)), 2 * own], 2)]
    r2 = cross_decoding([x[:40] for x in fits], [x[40:] for x in fits])
    assert r2[1, 0] > 0.99 and r2.diagonal() == pytest.approx(1, abs=0.01)  # the ridge takes a per mille
    assert r2[0, 1] < 0.9  # what the second fit made up cannot be decoded from the first
    with pytest.raises(ValueError, match="at least two fits"):
        cross_decoding(fits[:1], fits[:1])
