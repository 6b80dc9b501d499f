"""The report names what the teachers are known to do; that they do it is checked here without the code that names them."""

import numpy as np
import pytest
import torch

from nwb_lowrank.dynamics.portrait import portrait
from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.searches import Certified
from nwb_lowrank.sources.synthetic import decision_teacher
from nwb_lowrank.sources.teachers import LORENZ_STEP, cycle_teacher, line_teacher, lorenz_flow, lorenz_teacher, ring_teacher

from .nets import linear, lozi, net, piecewise

WIDTH = 0.02


def step(model, z, times=1):
    z = torch.as_tensor(z, dtype=torch.float64)
    for _ in range(times):
        z = model.double().step(z, z.new_zeros(len(z), 0)).detach()
    return z.numpy()


@pytest.fixture(scope="module")
def named():
    """One portrait of each teacher."""
    return {
        make: portrait(make(), bin_width=WIDTH) for make in (line_teacher, ring_teacher, cycle_teacher, lorenz_teacher, decision_teacher)
    }


@pytest.mark.parametrize("make, name", [
    (line_teacher, "line attractor"), (ring_teacher, "ring attractor"), (cycle_teacher, "limit cycle"),
    (decision_teacher, "bistable switch"), (lorenz_teacher, "Lorenz-like chaos"),
])  # fmt: skip
def test_each_teacher_is_named(named, make, name):
    assert named[make].name == name
    assert named[make].text().splitlines()[0] == f"portrait: {name}"


def test_the_line_stands_still_and_attracts():
    along = np.linspace(-1, 1, 41)
    line = np.stack([along, 3 / 7 * along], 1)
    np.testing.assert_allclose(step(line_teacher(), line), line, atol=1e-15)
    np.testing.assert_allclose(step(line_teacher(), line + [0, 0.3], 200), line, atol=1e-8)


def test_the_line_is_measured(named):
    (line,) = named[line_teacher].attractors
    exact = 2 * np.hypot(1, 3 / 7)
    assert exact * 0.96 < line.evidence["length"] <= exact * 1.001  # walked in steps of a hundredth of the latents' size
    assert line.timescale == pytest.approx(-1 / np.log(0.86), rel=1e-6)  # 0.92 − 0.06 across it
    assert np.abs(line.points[:, 1] - 3 / 7 * line.points[:, 0]).max() < 1e-2


def test_the_ring_stands_still_and_attracts():
    angle = np.linspace(0, 2 * np.pi, 97)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    np.testing.assert_allclose(step(ring_teacher(), ring), ring, atol=1e-14)
    np.testing.assert_allclose(step(ring_teacher(), 0.3 * ring, 2000), ring, atol=1e-10)
    np.testing.assert_allclose(step(ring_teacher(), 3 * ring, 2000), ring, atol=1e-10)


def test_the_ring_is_measured(named):
    (ring,) = named[ring_teacher].attractors
    assert ring.evidence["length"] == pytest.approx(2 * np.pi, rel=1e-3)
    np.testing.assert_allclose(np.linalg.norm(ring.points, axis=1), 1.0, atol=1e-3)


def test_the_cycle_turns_and_attracts(named):
    """Without the code under test: radius 1 is reached, and the angle rises by 2π · 1.5 Hz · 20 ms a bin."""
    z = step(cycle_teacher(), np.array([[0.2, 0.0], [1.5, 0.3], [0.0, -0.7]]), 300)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1.0, atol=1e-3)  # fitted by regression
    turned = step(cycle_teacher(), z)
    angle = np.angle((turned[:, 0] + 1j * turned[:, 1]) / (z[:, 0] + 1j * z[:, 1]))
    np.testing.assert_allclose(angle, 2 * np.pi * 1.5 * WIDTH, rtol=1e-3)
    (cycle,) = named[cycle_teacher].attractors
    assert cycle.period * WIDTH == pytest.approx(1 / 1.5, rel=1e-4)
    # r ← r + 0.1 r (1 − r²) has slope 0.8 at 1; the regression leaves it off by 1e-3, which moves the time scale by 0.6 %.
    assert cycle.timescale == pytest.approx(-1 / np.log(0.8), rel=1e-2)


def test_lorenz_is_lorenz(named):
    """One bin is 0.02 time units of the equations, to a thousandth of the motion; its exponent is that of the equations, measured on
    them by the parting of near orbits (known: 0.906 per time unit, dimension 2.06)."""
    random = np.random.default_rng(0)
    z = random.normal(size=(200, 3))
    for _ in range(60):
        z = lorenz_flow(z)
    moved = lorenz_flow(z)
    error = np.linalg.norm(step(lorenz_teacher(), z) - moved, axis=1)
    assert np.median(error) < 1e-3 * np.median(np.linalg.norm(moved - z, axis=1))
    shift, growth = random.normal(size=(200, 3)), []
    for t in range(400):
        shift *= 1e-8 / np.linalg.norm(shift, axis=1, keepdims=True)
        both = lorenz_flow(np.concatenate([z, z + shift]), substeps=4)
        z, shift = both[:200], both[200:] - both[:200]
        growth += [np.log(np.linalg.norm(shift, axis=1) / 1e-8)] * (t >= 100)
    rates = np.mean(growth, 0) / LORENZ_STEP
    exact, error = rates.mean(), rates.std(ddof=1) / 200**0.5
    spectrum = named[lorenz_teacher].attractors[0].spectrum
    measured = spectrum.exponents / LORENZ_STEP
    assert abs(measured[0] - exact) < 5 * np.hypot(error, spectrum.errors[0] / LORENZ_STEP)
    assert measured.sum() == pytest.approx(-(10 + 1 + 8 / 3), rel=0.02)  # the divergence of the equations
    assert spectrum.kaplan_yorke == pytest.approx(2.06, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("make, name", [(line_teacher, "line attractor"), (ring_teacher, "ring attractor"),
                                        (cycle_teacher, "limit cycle"), (decision_teacher, "bistable switch")])  # fmt: skip
@pytest.mark.parametrize("seed", [1, 2])
def test_names_do_not_hang_on_the_starts(make, name, seed):
    assert portrait(make(), bin_width=WIDTH, seed=seed, noise=False, cycles=False).name == name


@pytest.mark.slow
def test_a_linear_map_of_the_latents_changes_no_name():
    """z is free up to any invertible linear map: S z with m S⁻¹ and S n is the same network."""
    S = np.array([[3.0, 1.0], [-0.5, 0.2]])
    for make, name in ((line_teacher, "line attractor"), (ring_teacher, "ring attractor"), (cycle_teacher, "limit cycle")):
        model = make()
        with torch.no_grad():
            model.m.copy_(model.m @ torch.from_numpy(np.linalg.inv(S)))
            model.n.copy_(torch.from_numpy(S) @ model.n)
            model.noise.set(model.m.new_tensor(4e-4 * S @ S.T + 1e-9 * np.eye(2)))
        latents = make().simulate(model.m.new_zeros(60, 60, 0), seed=0)[0].double().numpy() @ S.T
        assert portrait(model, latents, bin_width=WIDTH, noise=False, cycles=False).name == name


def test_other_names():
    random = np.random.default_rng(0)
    z = random.uniform(-1, 1, (20, 10, 2))
    stable = portrait(linear([[0.8, -0.3], [0.3, 0.8]]), z, bin_width=WIDTH)
    assert stable.name == "single attractor" and "turns at" in stable.reasons[0]
    alternating = portrait(net([[1.0]], [[-1.8]], [0.0]), z[..., :1], bin_width=WIDTH)
    assert alternating.name == "cycle of 2 bins"
    growing = portrait(linear([[1.1, 0.0], [0.0, 0.9]]), z, bin_width=WIDTH)
    assert growing.name == "no attractor" and "100% of the starts diverge" in " ".join(growing.reasons)
    region = Certified(region=([-9.0, -9.0], [9.0, 9.0]))  # ReLU does not bound the dynamics
    strange = portrait(lozi(), 0.3 * z, bin_width=WIDTH, fixed_points=find_fixed_points(lozi(), search=region))
    assert strange.name == "chaos"
    # z ← 0.9 z + 0.1 stairs(z), flat at −2, 0 and 2
    steps = [([0.4], [1.0], 1.25), ([-0.4], [1.0], 0.75), ([0.4], [1.0], -0.75), ([-0.4], [1.0], -1.25)]
    stairs = piecewise([[0.9]], steps, [-0.2])
    points = find_fixed_points(stairs, search=Certified(region=([-9.0], [9.0])))
    three = portrait(stairs, 2 * z[..., :1], bin_width=WIDTH, fixed_points=points, noise=False)
    assert three.name == "multistable switch (3 attractors)"
    np.testing.assert_allclose(sorted(a.points[0, 0] for a in three.attractors), [-2, 0, 2], atol=1e-12)


def test_one_dimensional_integrators_and_sheets():
    """z ← z: every point stands still, in one dimension (a line) or two (a sheet)."""
    random = np.random.default_rng(0)
    assert portrait(linear([[1.0]]), random.normal(size=(20, 10, 1)), bin_width=WIDTH, noise=False).name == "line attractor"
    whole = portrait(linear(np.diag([1.0, 1.0, 0.5])), random.normal(size=(20, 10, 3)), bin_width=WIDTH, noise=False)
    assert whole.name == "sheet attractor" and whole.attractors[0].evidence["dimension"] == 2


def test_a_slow_point_attractor_is_no_continuum():
    """Slow, but no slower than everything else: time constants of 100 and 60 bins."""
    random = np.random.default_rng(0)
    found = portrait(linear(np.diag([np.exp(-1 / 100), np.exp(-1 / 60)])), random.normal(size=(20, 10, 2)), bin_width=WIDTH, noise=False)
    assert found.name == "single attractor"


@pytest.mark.parametrize("change, message", [
    (dict(latents=np.zeros((2, 3))), "latents must be"), (dict(bin_width=0.0), "bin_width must be"),
    (dict(latents=np.full((2, 3, 2), np.nan)), "two finite points"), (dict(latents=np.zeros((2, 3, 2)), lengths=[3]), "lengths must"),
    (dict(inputs=np.zeros((2, 3, 0))), "got no latents"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=f"portrait: .*{message}"):
        portrait(decision_teacher(), **{"bin_width": WIDTH, **change})


def test_the_same_seed_gives_the_same_portrait_and_leaves_the_model_alone():
    model = decision_teacher()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    one, other = (portrait(model, bin_width=WIDTH, seed=4) for _ in range(2))
    assert one.text() == other.text()
    np.testing.assert_array_equal(one.switching.density, other.switching.density)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
