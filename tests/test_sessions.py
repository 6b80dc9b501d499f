"""Several sessions, one dynamics; and a network adapted to neurons that it never saw."""

import numpy as np
import pytest
import torch
from problems import generator, poisson_world, randomise, trials_of

from nwb_lowrank.adapting import adapt, resized
from nwb_lowrank.alignment import affine_r2, rotation, towards_dynamics
from nwb_lowrank.filter import smc_filter
from nwb_lowrank.fit import fit
from nwb_lowrank.infer import infer
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.observations import GaussianSignal, NegativeBinomial, Poisson, SpikeHistory
from nwb_lowrank.observations.base import Exp
from nwb_lowrank.proposals import Bootstrap, Encoder
from nwb_lowrank.readouts import MLP, UnitRates
from nwb_lowrank.results import Fit, FitSettings
from nwb_lowrank.sessions import fit_sessions, join, part_of, restrict, shared_labels
from nwb_lowrank.sources.synthetic import decision_teacher, simulate_session
from nwb_lowrank.trials import Trials

QUICK = FitSettings(steps=2, warm_rounds=2, warm_steps=2, particles=4, warm_trials=8)
SHARED = ("m", "n", "w", "decay_logit", "initial_mean", "nonlinearity.h", "noise.log_sd", "initial_noise.lower", "initial_noise.raw")


def sessions(seed=0, neurons=(6, 4), trials=(9, 7), inputs=0):
    """Two sessions with neurons and trials of their own, of different length; one neuron of each is held out."""
    made = []
    for number, (N, B) in enumerate(zip(neurons, trials)):
        world = poisson_world(neurons=N, trials=B, bins=12 - number, inputs=inputs, seed=seed + number)
        made.append(trials_of(world).hide([number]))
    return made


def test_a_sessions_fit_is_the_joint_fit_of_its_trials():
    """Restricting removes neurons that were never recorded: the same evidence and particles, number for number."""
    parts = sessions(inputs=1)
    observation = NegativeBinomial(readout=MLP(hidden=6), history=SpikeHistory(bins=6, basis=4))  # sizes equal to numbers of neurons
    model = randomise(LowRankRNN(rank=2, units=5, neurons=10, inputs=1, observation=observation).double())
    joined, places = join(model, parts)
    encoder = randomise(Encoder(channels=4, kernel=3).attach(model).double(), scale=0.1)
    encoder.shown.fill_(8.0)
    fitted = Fit(model, encoder, QUICK, 0, None)
    for part, (rows, columns) in zip(parts, places):
        alone = restrict(fitted, np.arange(10)[columns], joined.held_out)
        assert alone.model.neurons == part.neurons
        whole = [torch.as_tensor(x[rows]) for x in (joined.counts, joined.inputs, joined.seen, joined.mask)]
        own = [torch.as_tensor(x) for x in (part.counts, part.inputs, part.seen, part.mask)]
        outs = [
            smc_filter(f.model, f.proposal, y[:, : part.bins].double(), u[:, : part.bins].double(), seen=seen[:, : part.bins],
                       scored=scored[:, : part.bins], particles=5, generator=generator(2))
            for f, (y, u, seen, scored) in ((fitted, whole), (alone, own))
        ]  # fmt: skip
        torch.testing.assert_close(outs[0].particles, outs[1].particles, atol=1e-9, rtol=0)
        torch.testing.assert_close(outs[0].log_evidence, outs[1].log_evidence, atol=1e-8, rtol=0)


@pytest.mark.parametrize("proposal", [Encoder(channels=4, kernel=3), Bootstrap()])
def test_sessions_share_the_dynamics_and_nothing_of_the_readout(proposal):
    parts = sessions()
    model = LowRankRNN(rank=2, units=5, neurons=10, observation=Poisson(Exp()))
    first, second = fit_sessions(model, proposal, parts, QUICK, device="cpu")
    a, b = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in SHARED)
    assert (first.model.neurons, second.model.neurons) == (6, 4)
    assert first.settings == QUICK
    for fitted, part in zip((first, second), parts):
        assert infer(fitted, part, particles=4, draws=2, device="cpu").rates.shape == part.counts.shape


def test_joining_keeps_every_entry_and_invents_none():
    parts = sessions(inputs=2)
    joined, places = join(LowRankRNN(rank=1, units=2, neurons=10, inputs=2), parts)
    assert joined.mask.sum() == sum(part.mask.sum() for part in parts)
    assert joined.counts.sum() == sum(part.counts.sum() for part in parts)
    for part, place in zip(parts, places):
        back = part_of(joined, *place)
        for name in ("counts", "mask", "inputs"):
            np.testing.assert_array_equal(getattr(back, name)[:, : part.bins], getattr(part, name))
        np.testing.assert_array_equal(back.held_out, part.held_out)


def test_sessions_that_do_not_fit_together_are_refused():
    a, b = sessions()
    model = LowRankRNN(rank=1, units=2, neurons=10)
    coarse = Trials.from_arrays(b.counts, bin_width=0.1)
    with pytest.raises(ValueError, match="share the bin width; got 0.02 and 0.1. Cut them alike"):
        join(model, [a, coarse])
    with pytest.raises(ValueError, match="must have the 12 neurons of all sessions; it has 10. Pass neurons=12"):
        join(model, [a, a])


def test_conditions_are_comparable_only_where_sessions_share_them():
    session = simulate_session(decision_teacher(), trials=40, bins=10).trials
    labels = shared_labels([session, session], None)
    np.testing.assert_array_equal(labels[0], session.table["condition"])
    plain = Trials.from_arrays(session.counts, bin_width=0.02)
    assert all((each == 0).all() for each in shared_labels([session, plain], None))
    with pytest.raises(KeyError, match="every session needs a column 'condition'"):
        shared_labels([session, plain], "condition")


def test_a_rotation_between_courses_is_found():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    courses = {label: rng.normal(size=(8, 3)) for label in "abc"}
    turned = {label: course @ q for label, course in courses.items()}
    turned["a"][2] = np.nan  # a bin that nobody recorded
    np.testing.assert_allclose(rotation(courses, turned), q, atol=1e-10)


def test_latents_are_turned_into_the_space_of_the_dynamics():
    """Latents of a known network seen through an unknown affine map: the search finds the map back."""
    teacher = decision_teacher()
    z, _ = teacher.simulate(torch.zeros(120, 40, 0), seed=1)
    A, b = np.array([[0.4, -1.2], [0.9, 0.7]]), np.array([1.0, -2.0])
    seen = (z.double().numpy() - b) @ np.linalg.inv(A)
    found = towards_dynamics(teacher, seen, np.ones(z.shape[:2], bool), np.zeros((120, 40, 0)), seed=0)
    back = seen @ found[0] + found[1]
    # the decision's sign is a symmetry of the dynamics, and the moments that set the scale are those of 120 trials
    error = min(np.square(back - sign * z.numpy()).mean() for sign in (1, -1))
    assert error < 0.1 * z.numpy().var()


def test_adapting_leaves_the_dynamics_to_the_last_bit():
    old, new = sessions()
    model = LowRankRNN(rank=2, units=5, neurons=6, observation=Poisson(Exp()))
    fitted = fit(model, Encoder(channels=4, kernel=3), old, QUICK, device="cpu")
    before = {name: value.tobytes() for name, value in fitted.state().items()}
    adapted = adapt(fitted, new, device="cpu")
    assert {name: value.tobytes() for name, value in fitted.state().items()} == before
    a, b = fitted.model.state_dict(), adapted.model.state_dict()
    for name in a:
        if name not in ("extent",) and not name.startswith("observation."):
            assert torch.equal(a[name], b[name]), name
    assert adapted.model.neurons == 4 and all(part.requires_grad for part in adapted.model.parameters())
    assert infer(adapted, new, particles=4, draws=2, device="cpu").rates.shape == new.counts.shape


def test_adapting_refuses_what_it_cannot_do():
    old, new = sessions()
    model = LowRankRNN(rank=2, units=6, neurons=6, observation=GaussianSignal(readout=UnitRates()))
    fitted = fit(model, Bootstrap(), old, QUICK, device="cpu")
    with pytest.raises(ValueError, match="network's own units cannot be another session's"):
        adapt(fitted, new)
    with pytest.raises(ValueError, match="the network has 0 inputs; the trials have 2. Cut them with the same inputs="):
        adapt(fitted, sessions(inputs=2)[0])


def test_the_resized_network_is_the_same_network():
    model = randomise(LowRankRNN(rank=2, units=5, neurons=6, observation=Poisson(readout=MLP(hidden=3))))
    z, u = torch.randn(4, 2, generator=generator()), torch.zeros(4, 0)
    assert torch.equal(resized(model, 9).step(z, u), model.step(z, u))


@pytest.mark.slow
def test_new_neurons_of_a_known_network_are_explained():
    """Teacher, two sets of neurons: fit one, adapt to the other; held-out neurons of the second are predicted, and latents agree."""
    session = simulate_session(decision_teacher(neurons=60, rate=15.0), trials=160, bins=40, seed=3)
    counts = session.trials.counts
    first, second = (Trials.from_arrays(counts[..., half::2], bin_width=0.02) for half in (0, 1))
    second = second.hide(np.arange(0, 30, 4))
    settings = FitSettings(steps=0, warm_rounds=40)
    model = LowRankRNN(rank=2, units=24, neurons=30, observation=Poisson(Exp()))
    fitted = fit(model, Encoder(), first.select(slice(0, 120)), settings, device="cpu")
    adapted = adapt(fitted, second.select(slice(0, 120)), device="cpu")
    a, b = (infer(f, t, device="cpu") for f, t in ((fitted, first), (adapted, second)))
    train, test = slice(0, 120), slice(120, None)
    assert affine_r2(a.latents, b.latents, train, test) > 0.6
    # not only up to a map: the adapted latents are those of the same dynamics
    assert np.corrcoef(a.latents[test, :, 0].ravel(), b.latents[test, :, 0].ravel())[0, 1] ** 2 > 0.5
    rates, truth = b.rates[120:][..., second.held_out], session.rates[120:, :, 1::2][..., second.held_out]
    error = 1 - ((rates - truth) ** 2).sum() / ((truth - truth.mean((0, 1))) ** 2).sum()
    assert error > 0.6
