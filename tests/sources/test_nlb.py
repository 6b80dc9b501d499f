"""Reading the benchmark: the table against the real manifests, tensors against what nlb_tools made, Trials against tensors."""

import json
from pathlib import Path

import nlb_cases
import numpy as np
import pandas as pd
import pytest

from nwb_lowrank.sources._nlb_table import BIN_WIDTHS, DATASETS, FORWARD, PHASES
from nwb_lowrank.sources.nlb import read_nlb

EXPECTED = json.loads((Path(nlb_cases.__file__).parent / "nlb_expected.json").read_text())


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nlb")
    return {name: nlb_cases.write_case(folder / f"{name}.nwb", name) for name in nlb_cases.BEHAVIOR}


@pytest.fixture(scope="module", params=["mc_maze_small", "mc_rtt", "area2_bump", "dmfc_rsg"])
def world(request, tmp_path_factory):
    from nwb_lowrank.sinks.recording_nlb import write_nlb_recording
    from nwb_lowrank.sources.synthetic_nlb import simulate_nlb

    simulated = simulate_nlb(request.param, scale=0.1 if request.param == "mc_maze_small" else 0.05)
    return simulated, write_nlb_recording(simulated, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("name", DATASETS)
def test_file_names_are_those_of_the_dandisets(name, shared_data):
    assets = (shared_data / "dandi_manifests" / DATASETS[name].dandiset / "assets.json").read_text()
    assert DATASETS[name].train_file in assets and DATASETS[name].test_file in assets


def test_behaviour_and_units_are_named_and_counted_as_in_a_real_trial(shared_data):
    from nwb_lowrank.sinks.recording_nlb import SERIES

    header = (shared_data / "mc_maze_two_trials" / "trial_1356_data.csv").open().readline().strip().split(",")
    sizes = DATASETS["mc_maze"].sizes
    assert {f"{name}_{axis}" for name in SERIES["mc"] for axis in "xy"} == {name for name in header if name.endswith(("_x", "_y"))}
    assert sum(name.startswith("unit_") for name in header) == sizes.held_in + sizes.held_out
    assert sizes.train + sizes.val + sizes.test == 2869


@pytest.mark.parametrize("width", BIN_WIDTHS)
def test_two_real_trials_are_cut_as_their_milliseconds_say(shared_data, width):
    """Against the same trials at 1 ms, 0 or 1 spike of every unit: their windows begin at the session's first bin edge after −250 ms."""
    benchmark = read_nlb("mc_maze", shared_data / "nwb" / "mc_maze_two_trials.nwb", bin_width=width)
    inputs = benchmark.inputs()
    assert "psth" not in benchmark.target()  # this file does not say the conditions
    for name, part, start, onset in (("trial_748", "train", 0, 2200), ("trial_1356", "eval", 5235, 7539)):
        table = pd.read_csv(shared_data / "mc_maze_two_trials" / f"{name}_data.csv")
        begin = -(-(onset - 250) // width) * width - start
        for kind, held_out in (("heldin", False), ("heldout", True)):
            spikes = table[[f"unit_{unit}" for unit in benchmark.session.units[held_out]]].to_numpy()[begin : begin + 700]
            assert np.array_equal(inputs[f"{part}_spikes_{kind}"][0], spikes.reshape(700 // width, width, -1).sum(1))


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_windows_are_whole_bins(dataset):
    for width in BIN_WIDTHS:
        assert dataset.duration % width == 0 and FORWARD % width == 0


@pytest.mark.parametrize("width", BIN_WIDTHS)
@pytest.mark.parametrize("name", nlb_cases.BEHAVIOR)
def test_tensors_of_an_awkward_file_are_those_of_nlb_tools(cases, name, width):
    """Counts, shapes, dtypes, NaN and trial lists exactly; sums of real numbers to rounding (FFTs differ in their last bits)."""
    benchmark = read_nlb(name, cases[name], bin_width=width)
    made = nlb_cases.summary(benchmark.inputs() | benchmark.target())
    expected = EXPECTED[f"{name} {width}"]
    assert set(made) == set(expected)
    for key, value in expected.items():
        if len(value) == 5 and isinstance(value[1], str):
            assert made[key][:2] == value[:2] and made[key][4] == value[4], key
            assert made[key][2:4] == pytest.approx(value[2:4], rel=1e-9, abs=1e-6), key
        else:
            assert made[key] == value, key


def test_trials_hold_the_tensors(world):
    simulated, paths = world
    for phase, (train, scored) in PHASES.items():
        benchmark = read_nlb(simulated.dataset.name, paths["train"], paths["test"], phase=phase)
        inputs, trials = benchmark.inputs(), benchmark.trials
        fitted, hidden, now = benchmark.split == "train", trials.held_out, trials.bins - trials.forecast
        for kind, units in (("heldin", ~hidden), ("heldout", hidden)):
            assert np.array_equal(trials.counts[fitted][:, :now, units], inputs[f"train_spikes_{kind}"])
            assert np.array_equal(trials.counts[fitted][:, now:, units], inputs[f"train_spikes_{kind}_forward"])
        assert np.array_equal(trials.counts[~fitted][:, :now, ~hidden], inputs["eval_spikes_heldin"])
        assert set(trials.table["split"][fitted]) == set(train) and set(trials.table["split"][~fitted]) == {scored}
        if phase == "test":
            assert not trials.mask[~fitted][..., hidden].any()  # what the test file keeps secret is marked as unknown
            with pytest.raises(ValueError, match="keep them secret"):
                benchmark.target()


def test_counts_follow_the_true_rates(world):
    """Σ (y − r)² / Σ r estimates the Poisson ratio 1; its standard error is about √(2 + 1/r̄) / √n, far below 0.1 here."""
    simulated, paths = world
    trials = read_nlb(simulated.dataset.name, paths["train"], paths["truth"], phase="test").trials
    rates = simulated.true_rates(trials)
    assert ((trials.counts - rates) ** 2).sum() / rates.sum() == pytest.approx(1, abs=0.1)


def test_size_of_a_full_simulation_is_that_of_the_release():
    from nwb_lowrank.sources.synthetic_nlb import simulate_nlb

    simulated, sizes = simulate_nlb("mc_maze_small"), DATASETS["mc_maze_small"].sizes
    counted = simulated.table["split"].value_counts()
    assert (counted["train"], counted["val"], counted["test"]) == (sizes.train, sizes.val, sizes.test)
    assert (~simulated.held_out).sum() == sizes.held_in and simulated.held_out.sum() == sizes.held_out


def test_fitting_with_held_out_neurons_shown_is_refused(cases):
    import nwb_lowrank as nl

    trials = read_nlb("mc_maze_small", cases["mc_maze_small"]).trials
    model = nl.LowRankRNN(rank=1, units=2, neurons=trials.neurons)
    with pytest.raises(ValueError, match="holds 2 of these neurons out; got 1 of them shown"):
        nl.fit(model, nl.Encoder(), trials.hide(np.flatnonzero(trials.held_out)[:1]))


@pytest.mark.parametrize("options, message", [
    (dict(name="mc_mace"), "one of mc_maze"), (dict(phase="train"), "phase must be"), (dict(bin_width=10), "5 and 20"),
    (dict(phase="test"), "needs the test file"),
])  # fmt: skip
def test_errors_say_what_to_do(cases, options, message):
    with pytest.raises((ValueError, KeyError), match=message):
        read_nlb(**(dict(name="mc_maze_small", train=cases["mc_maze_small"]) | options))


def test_a_file_that_is_not_of_the_benchmark(shared_data):
    with pytest.raises(ValueError, match="lack the column 'heldout'|no trials"):
        read_nlb("mc_maze_small", shared_data / "nwb" / "chewie_center_out.nwb")
