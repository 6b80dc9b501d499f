"""fit: the same bytes every time, however often it is stopped; nothing leaked, nothing touched, nothing silently broken."""

import dataclasses
import functools
import math
import os
import signal
import threading

import numpy as np
import pytest
import torch
from problems import bytes_of, exact, linear_world, poisson_world, signals, state_space, trials_of

from nwb_lowrank.fit import FitDiverged, FitInterrupted, fit
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.observations import GaussianSignal
from nwb_lowrank.proposals import Encoder, LinearGaussian
from nwb_lowrank.results import FitSettings
from nwb_lowrank.training import learning_rate
from nwb_lowrank.trials import Trials

QUICK = FitSettings(steps=12, batch_size=4, particles=4, validate_every=3, warm_rounds=6, warm_steps=2, warm_trials=8, validation=0.2)
WORLD = poisson_world()
TRIALS = trials_of(WORLD)


def new_model(neurons=8, **other):
    return LowRankRNN(rank=2, units=6, neurons=neurons, **other)


def new_proposal():
    return Encoder(channels=4, kernel=3)


def run(settings=QUICK, *, trials=TRIALS, seed=0, model=None, proposal=None, **other):
    return fit(model or new_model(), proposal or new_proposal(), trials, settings, seed=seed, device="cpu", **other)


@functools.cache
def uninterrupted(**options):
    """Bytes of an uninterrupted fit with these settings."""
    return bytes_of(run(dataclasses.replace(QUICK, **options)))


def interrupt_at(*where):
    """An `on_step` that presses Ctrl-C after the given (stage, step)."""

    def on_step(progress):
        if (progress.stage, progress.step) in where:
            os.kill(os.getpid(), signal.SIGINT)

    return on_step


OPTIONS = [
    {}, dict(rectified=True), dict(segment=7), dict(dropout=0.0), dict(warm_rounds=0), dict(validation=0.0),
    dict(resample_threshold=0.5), dict(resampling_gradient=False), dict(initialise=False), dict(batch_size=100),
    dict(multinomial=True),
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_same_seed_same_bytes(options):
    first = uninterrupted(**options)
    torch.manual_seed(77)
    np.random.seed(77)
    assert bytes_of(run(dataclasses.replace(QUICK, **options))) == first


@pytest.mark.parametrize("stage", [dict(steps=0), dict(warm_rounds=0)], ids=["warm start", "steps"])
def test_multinomial_resampling_is_used_in_both_stages(stage):
    settings = dataclasses.replace(QUICK, resample_threshold=1.0, **stage)
    one, other = (bytes_of(run(dataclasses.replace(settings, multinomial=multinomial)))["model.m"] for multinomial in (False, True))
    assert one != other


def test_another_seed_is_another_fit():
    assert bytes_of(run(seed=1)) != uninterrupted()


@pytest.mark.parametrize("where", [("warm start", 1), ("warm start", 6), ("fit", 1), ("fit", 4), ("fit", 6), ("fit", 12)], ids=str)
def test_ctrl_c_then_resume_ends_in_the_same_bytes(where, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(FitInterrupted, match="checkpoint: .*fit.ckpt"):
        run(on_step=interrupt_at(where), checkpoint=tmp_path / "fit.ckpt")
    assert signal.getsignal(signal.SIGINT) is before
    assert bytes_of(run(checkpoint=tmp_path / "fit.ckpt", resume=True)) == uninterrupted()


@pytest.mark.parametrize("options", OPTIONS[1:], ids=str)
def test_resume_is_exact_under_every_option(options, tmp_path):
    settings, path = dataclasses.replace(QUICK, **options), tmp_path / "fit.ckpt"
    for stop in (("warm start", 2), ("fit", 2), ("fit", 5)):
        try:
            run(settings, on_step=interrupt_at(stop), checkpoint=path, resume=path.exists())
        except FitInterrupted:
            pass
    assert path.exists()
    assert bytes_of(run(settings, checkpoint=path, resume=True)) == uninterrupted(**options)


def test_a_crash_leaves_the_checkpoint_of_the_last_look(tmp_path):
    def crash(progress):
        if (progress.stage, progress.step) == ("fit", 5):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        run(on_step=crash, checkpoint=tmp_path / "fit.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["fit.ckpt"]
    assert bytes_of(run(checkpoint=tmp_path / "fit.ckpt", resume=True)) == uninterrupted()


def test_ctrl_c_without_a_checkpoint_and_fits_beside_the_main_thread():
    with pytest.raises(FitInterrupted):
        run(on_step=interrupt_at(("fit", 1)))
    results = []
    thread = threading.Thread(target=lambda: results.append(bytes_of(run())))  # where no signal can be handled
    thread.start()
    thread.join()
    assert results == [uninterrupted()]


def poison(model, *steps):
    """An `on_step` that breaks a parameter after the given gradient steps, each once."""
    left = set(steps)

    def on_step(progress):
        if progress.stage == "fit" and progress.step in left:
            left.discard(progress.step)
            with torch.no_grad():
                model.n[0, 0] = math.nan

    return on_step


def test_a_non_finite_step_is_undone_at_half_the_rate():
    model = new_model()
    result = run(model=model, on_step=poison(model, 4))
    assert all(np.isfinite(value).all() for value in result.state().values())
    rows = result.history[result.history.stage == "fit"]
    assert list(rows.step) == [3, 6, 9, 12]
    share = [row.learning_rate / learning_rate(QUICK, row.step - 1) for row in rows.itertuples()]
    np.testing.assert_allclose(share, [1, 0.5, 0.5, 0.5], rtol=1e-12)


@pytest.mark.parametrize("stop", [3, 4, 8])
def test_resume_is_exact_where_a_step_had_to_be_undone(stop, tmp_path):
    """Bad step after 5: interrupted before (on a look, between looks) or after the recovery."""
    path, model = tmp_path / "fit.ckpt", new_model()
    alone = bytes_of(run(model=model, on_step=poison(model, 5)))
    model = new_model()
    bad, ctrl_c = poison(model, 5), interrupt_at(("fit", stop))
    with pytest.raises(FitInterrupted):
        run(model=model, checkpoint=path, on_step=lambda progress: (bad(progress), ctrl_c(progress)))
    model = new_model()
    resumed = run(model=model, checkpoint=path, resume=True, on_step=poison(model, 5) if stop < 5 else None)
    assert bytes_of(resumed) == alone


def test_a_fit_that_cannot_be_saved_says_so():
    model = new_model()
    with torch.no_grad():
        model.m.fill_(math.nan)
    with pytest.raises(FitDiverged, match="not finite.*Lower learning_rate"):
        run(dataclasses.replace(QUICK, initialise=False), model=model)


@pytest.mark.parametrize("options", [
    dict(learning_rate=1e8, warmup=0), dict(warm_rate=1e8),
    dict(learning_rate=1e30, warmup=0, steps=1, validation=0.0),  # the very last step, with no trials to catch it
], ids=str)  # fmt: skip
def test_absurd_rates_end_finite_or_with_a_clear_message(options):
    try:
        result = run(dataclasses.replace(QUICK, **options))
    except FitDiverged as error:
        assert "Lower learning_rate" in str(error)
    else:
        assert all(np.isfinite(value).all() for value in result.state().values())
        assert np.isfinite(result.history.validation).all()


def test_arguments_and_global_randomness_are_left_alone():
    """The encoder is sized inside fit, which must not draw from the global generator either."""
    trials = trials_of(poisson_world(inputs=1)).hide([2]).forecast_last(3)
    parts = ("counts", "mask", "inputs", "held_out", "starts", "unit_ids")
    before = {name: getattr(trials, name).tobytes() for name in parts}
    settings, threads = dataclasses.replace(QUICK), torch.get_num_threads()
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    run(settings, trials=trials, model=new_model(inputs=1))
    assert {name: getattr(trials, name).tobytes() for name in parts} == before
    assert settings == QUICK and torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_held_out_neurons_are_learned_and_never_reach_the_encoder():
    held = [0, 5]
    rng = np.random.default_rng(0)
    counts = TRIALS.counts.copy()
    counts[..., held] = rng.poisson(2.0, counts[..., held].shape)
    other = dataclasses.replace(TRIALS, counts=counts)
    first, second = (run(trials=trials.hide(held)) for trials in (TRIALS, other))
    fresh = new_proposal().attach(new_model())
    for result in (first, second):
        # no gradient ever reached the columns of the held-out neurons
        assert torch.equal(result.proposal.read.weight[:, held], fresh.read.weight[:, held])
        assert (result.proposal.project.weight[:, held] == 0).all()
        assert not torch.equal(result.proposal.read.weight, fresh.read.weight)
    # scored all the same: their readout follows their own counts
    assert not torch.equal(first.model.observation.bias[held], second.model.observation.bias[held])


def test_the_state_with_the_best_validation_is_returned():
    model, states = new_model(), {}

    def remember(progress):
        states[progress.stage, progress.step] = {name: value.clone() for name, value in model.state_dict().items()}
        if progress.stage == "fit" and progress.step == 6:  # ruin what follows
            with torch.no_grad():
                model.observation.bias.add_(3.0)

    settings = dataclasses.replace(QUICK, learning_rate=1e-3, averaging=0.0)
    result = run(settings, model=model, on_step=remember)
    best = result.history.loc[result.history.validation.idxmax()]
    assert best.step <= 6
    expected = states[best.stage, best.step]
    assert all(torch.equal(result.model.state_dict()[name], value) for name, value in expected.items() if name != "extent")


def test_the_average_of_the_latest_steps_is_returned_and_looking_at_it_disturbs_nothing():
    """Without validation trials the last average is kept; however often it is looked at, the fit takes the same steps."""
    model, average = new_model(), {}

    def accumulate(progress):
        if progress.stage == "fit":
            weight = 1 / max(1.0, 0.5 * progress.step)
            for name, value in model.state_dict().items():
                average[name] = value.clone() if weight == 1 else average[name] + weight * (value - average[name])

    settings = dataclasses.replace(QUICK, averaging=0.5, validation=0.0)
    result = run(settings, model=model, on_step=accumulate).state()
    for name, value in average.items():
        if name != "extent":  # measured after the fit
            np.testing.assert_allclose(result[f"model.{name}"], value, rtol=1e-5, atol=1e-6)  # float32 rounding of 12 sums
    other = run(dataclasses.replace(settings, validate_every=5)).state()
    assert all(np.array_equal(result[name], other[name]) for name in result)


def test_patience_stops_a_fit_that_no_longer_improves():
    settings = dataclasses.replace(QUICK, steps=300, learning_rate=1e-12, final_learning_rate=1e-12, validate_every=1, patience=4)
    rows = run(settings).history.query("stage == 'fit'")
    best = rows.validation.argmax() if rows.validation.max() > rows.validation.iloc[0] else 0
    assert len(rows) < 300
    assert len(rows) >= 4 and rows.validation.iloc[-4:].max() <= rows.validation.max()
    assert len(rows) - best <= 6  # four looks beyond the last improvement (or beyond the warm start's)


def test_the_first_bound_beats_the_mean_rate_model_and_training_improves_it():
    world = poisson_world(trials=40, bins=30, neurons=15)
    counts = world.y.numpy().copy()
    counts[..., [3, 9]] = 0  # silent neurons
    trials = Trials.from_arrays(counts, bin_width=0.02)
    settings = dataclasses.replace(QUICK, steps=60, particles=16, validation=0.0, validate_every=10, warm_rounds=1, warm_steps=1)
    history = run(settings, trials=trials, model=new_model(15)).history
    rate = torch.tensor(counts).mean((0, 1)).clamp_min(1e-9)
    null = torch.distributions.Poisson(rate).log_prob(torch.tensor(counts)).sum() / counts[..., 0].size
    assert history.bound.iloc[0] > null
    assert history.bound.iloc[-1] > history.bound.iloc[0]


def test_learning_rate_warms_up_then_falls_exponentially():
    settings = FitSettings(steps=120, warmup=20, learning_rate=1e-2, final_learning_rate=1e-4)
    rates = np.array([learning_rate(settings, step) for step in range(121)])
    np.testing.assert_allclose(rates[:20], 1e-2 * np.arange(1, 21) / 20, rtol=1e-12)
    np.testing.assert_allclose(rates[20:], 1e-2 * 0.01 ** (np.arange(101) / 100), rtol=1e-12)


def test_one_trial_has_nothing_to_validate_on():
    single = run(trials=TRIALS.select([0]))
    assert single.history.validation.equals(single.history.bound)


def test_a_double_precision_model_is_fitted_in_double_precision():
    double = run(model=new_model().double(), proposal=new_proposal().attach(new_model()).double())
    assert double.model.m.dtype == torch.float64 and np.isfinite(double.history.bound).all()


@pytest.mark.parametrize(
    "model, proposal, trials, message",
    [
        (new_model(9), None, TRIALS, "expects 9 neurons; the trials have 8. Build it with neurons=trials.neurons"),
        (new_model(inputs=2), None, TRIALS, "expects 2 inputs; the trials have 0. Build it with inputs="),
        (None, None, dataclasses.replace(TRIALS, counts=TRIALS.counts + 0.5), r"Poisson expects .*counts.*Use GaussianSignal\(\)"),
        (None, None, dataclasses.replace(TRIALS, mask=False), "no entry of the trials is recorded.*Check obs_intervals"),
    ],
)
def test_refusals_name_the_mend(model, proposal, trials, message):
    with pytest.raises(ValueError, match=message):
        run(trials=trials, model=model, proposal=proposal)


def test_resuming_another_fit_is_refused(tmp_path):
    path = tmp_path / "fit.ckpt"
    with pytest.raises(FileNotFoundError, match="expected a checkpoint.*Run once without resume"):
        run(checkpoint=path, resume=True)
    run(checkpoint=path)
    others = [
        (dict(seed=1), "its seed differs"), (dict(settings=dataclasses.replace(QUICK, steps=20)), "its settings differs"),
        (dict(trials=TRIALS.select(slice(0, 9))), "its trials differs"),
        (dict(model=LowRankRNN(rank=2, units=7, neurons=8)), "its model differs"),
        (dict(proposal=Encoder(channels=5, kernel=3)), "its proposal differs"),
    ]  # fmt: skip
    for changed, message in others:
        with pytest.raises(ValueError, match=f"another fit.*{message}.*or fit without resume"):
            run(**changed, checkpoint=path, resume=True)


@pytest.mark.slow
def test_a_linear_teacher_is_recovered():
    """z is free up to an invertible map: compare the spectrum of A, predicted signals and exact evidence on new trials."""
    world = linear_world(rank=2, units=2, neurons=12, bins=30, trials=120, inputs=0, missing=0.1, seed=3)
    teacher = world.model
    with torch.no_grad():
        angle, radius = 0.35, 0.95
        rotation = radius * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        teacher.m.copy_(torch.eye(2))
        teacher.n.copy_(rotation.double() - teacher.decay * torch.eye(2))
        teacher.nonlinearity.h.zero_()
        teacher.noise.set(0.1 * torch.eye(2))
        teacher.observation.log_sd.fill_(-0.5)
    u = torch.zeros(120, 30, 0).double()
    z, y = teacher.simulate(u, seed=1)
    world = world._replace(y=y * world.mask, u=u, z=z)
    train, test = slice(0, 105), slice(105, 120)
    student = LowRankRNN(rank=2, units=2, neurons=12, nonlinearity=type(teacher.nonlinearity)(), observation=GaussianSignal())
    result = fit(
        student, LinearGaussian(), trials_of(world).select(train),
        FitSettings(steps=100, particles=8, learning_rate=1e-2, warm_rounds=15, warm_steps=20, warm_trials=128, validate_every=50),
        seed=0, device="cpu",
    )  # fmt: skip
    _check_teacher(world, result.model.double(), test)


def _check_teacher(world, student, test):
    A, B = (state_space(model, world.u[0])[0] for model in (world.model, student))
    # 3,150 bins: the moduli and angles of the eigenvalues have standard errors of about sqrt((1 - r²) / 3150) = 0.006: allow 5
    np.testing.assert_allclose(np.sort_complex(np.linalg.eigvals(B)), np.sort_complex(np.linalg.eigvals(A)), atol=0.03)
    gap, error, signal_variance = [], 0.0, 0.0
    for b in range(test.start, test.stop):
        truth, found = exact(world, b), exact(world._replace(model=student), b)
        gap.append((truth.log_evidence - found.log_evidence) / 30)
        wanted, got = (signals(answer, model) for answer, model in ((truth, world.model), (found, student)))
        error += ((wanted - got) ** 2).sum()
        signal_variance += ((wanted - wanted.mean(0)) ** 2).sum()
    # 60-odd free parameters cost about 60 / (2 x 3,150) = 0.01 nats per bin on new data; several times that is a failure
    assert np.mean(gap) < 0.04
    assert 1 - error / signal_variance > 0.99  # what the teacher's own smoother says, predicted by the student's
