"""find_fixed_points: every number of the result against the model itself."""

import json

import numpy as np
import pytest
import torch
from searches.brute import build, network, same_points

from nwb_lowrank.fixed_points import find_fixed_points
from nwb_lowrank.nonlinearities import ClippedReLU, Identity, ReLU, Tanh
from nwb_lowrank.searches import Newton
from nwb_lowrank.searches.base import Dynamics

ROUNDING = 1e-12  # sums of a few terms of order 10 in float64
SMOOTH_AND_NOT = [ClippedReLU, ReLU, Tanh, Identity]


@pytest.mark.parametrize("nonlinearity", SMOOTH_AND_NOT)
def test_dynamics_are_those_of_the_model(nonlinearity):
    model = network(3, 6, 0, nonlinearity=nonlinearity(), inputs=2)
    u, z = np.array([0.4, -1.0]), np.random.default_rng(0).normal(size=(7, 3))
    dynamics, inputs = Dynamics.of(model, u), torch.from_numpy(u)
    step = [model.step(torch.from_numpy(point), inputs).detach().numpy() for point in z]
    jacobian = [torch.autograd.functional.jacobian(lambda x: model.step(x, inputs), torch.from_numpy(point)).numpy() for point in z]
    np.testing.assert_allclose(dynamics.change(z) + z, step, atol=ROUNDING)
    np.testing.assert_allclose(dynamics.jacobian(z), jacobian, atol=ROUNDING)


@pytest.mark.parametrize("nonlinearity", [ClippedReLU, Tanh, Identity])
def test_points_do_not_move_and_carry_their_linearisation(nonlinearity):
    gain = 0.5 if nonlinearity is Identity else 6
    for seed in range(5):
        model = network(3, 6, seed, nonlinearity=nonlinearity(), inputs=1, gain=gain)
        u = torch.tensor([0.5], dtype=torch.float64)
        found = find_fixed_points(model, u=u.numpy())
        for i, z in enumerate(torch.from_numpy(found.points)):
            moved = (model.step(z, u) - z).abs().max().item()
            assert moved < 1e-11 and abs(moved - found.residual[i]) < ROUNDING * 10
            jacobian = torch.autograd.functional.jacobian(lambda x: model.step(x, u), z)
            np.testing.assert_allclose(found.jacobian[i], jacobian, atol=1e-10)
            modulus = np.abs(found.eigenvalues[i])
            assert (np.diff(modulus) <= 0).all() and found.stable[i] == (modulus[0] < 1)
            np.testing.assert_allclose(found.eigenvalues[i].sum(), np.trace(jacobian), atol=1e-9)
            np.testing.assert_allclose(found.eigenvalues[i].prod(), np.linalg.det(jacobian), atol=1e-7)
        unstable = (np.abs(found.eigenvalues) >= 1).sum(1)
        assert len(found.points) and (np.diff(unstable) >= 0).all()


def test_stable_points_attract_and_others_do_not():
    """The deterministic model, let go beside each point."""
    for seed in range(6):
        model = network(2, 6, seed, gain=6)
        found = find_fixed_points(model)
        for point, eigenvalues, stable in zip(found.points, found.eigenvalues, found.stable, strict=True):
            if abs(abs(eigenvalues[0]) - 1) < 0.02:
                continue  # too slow to tell in the bins below
            start = torch.from_numpy(point)[None] + 1e-7
            z, _ = model.simulate(torch.zeros(1, 1500, 0), seed=0, initial=start, noise=False)
            distance = np.abs(z[0].numpy() - point).max(1)
            assert distance[-1] < 1e-9 if stable else distance.max() > 1e-5


@pytest.mark.parametrize("nonlinearity", [ClippedReLU, Tanh])
def test_coordinates_of_the_latents_do_not_matter(nonlinearity):
    """z → Tz takes m to mT⁻¹ and n to Tn: the points move along, eigenvalues stay."""
    random, several = np.random.default_rng(0), 0
    for seed in range(8):
        model = network(2, 6, seed, nonlinearity=nonlinearity(), gain=6)
        T = np.eye(2) + 0.4 * random.normal(size=(2, 2))
        m, n, h = (part.detach().numpy() for part in (model.m, model.n, model.nonlinearity.h))
        moved = build(m=m @ np.linalg.inv(T), n=T @ n, h=h, decay=0.8, nonlinearity=nonlinearity())
        one, other = find_fixed_points(model), find_fixed_points(moved)
        assert same_points(one.points @ T.T, other.points, 1e-8) and one.complete == other.complete
        pairs = np.abs((one.points @ T.T)[:, None] - other.points[None]).max(2).argmin(1)
        np.testing.assert_allclose(np.abs(one.eigenvalues), np.abs(other.eigenvalues[pairs]), atol=1e-6)
        several += len(one.points) > 1
    assert several >= 3


def test_constant_input_moves_the_points():
    """An input w u is a shift of every current: the same as another drive, and nothing else."""
    model = build(m=[[4.0], [0.0]], n=[[0.5, -0.5]], h=[2.0, 1.0], w=[[1.0], [0.0]], decay=0.5)
    assert len(find_fixed_points(model).points) == 3
    pushed = find_fixed_points(model, u=[10.0])  # φ saturates for every z of the box: z/2 = 1 − 1/2
    np.testing.assert_allclose(pushed.points, [[1.0]], atol=ROUNDING)


@pytest.mark.parametrize("nonlinearity", [ClippedReLU, Tanh])
def test_float32_model_is_searched_in_float64_and_left_alone(nonlinearity):
    model = network(2, 6, 3, nonlinearity=nonlinearity(), gain=4, inputs=1, dtype=torch.float32)
    model.m.grad = torch.ones_like(model.m)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found, doubled = find_fixed_points(model, u=[0.3]), find_fixed_points(build_double(model), u=[0.3])
    np.testing.assert_array_equal(found.points, doubled.points)
    assert found.points.dtype == np.float64 and (found.residual < 1e-11).all()
    assert all(torch.equal(before[name], value) and value.dtype == before[name].dtype for name, value in model.state_dict().items())
    assert model.m.requires_grad and torch.equal(model.m.grad, torch.ones_like(model.m))


def build_double(model):
    import copy

    return copy.deepcopy(model).double()


def test_certificate_is_json_and_names_its_search():
    for nonlinearity, name in ((ClippedReLU, "Certified"), (Tanh, "Certified")):
        certificate = find_fixed_points(network(2, 5, 0, nonlinearity=nonlinearity())).certificate
        assert json.loads(json.dumps(certificate)) == certificate and certificate["search"] == name
        assert certificate["degree_sum"] == 1
    relu = network(2, 5, 0, nonlinearity=ReLU())
    with torch.no_grad():
        relu.extent.fill_(2.0)
    assert find_fixed_points(relu).certificate["search"] == "Certified"
    assert find_fixed_points(relu, search=Newton(starts=20)).certificate["region"] == dict(low=[-6.0, -6.0], high=[6.0, 6.0])


def test_errors_name_the_mend():
    with pytest.raises(ValueError, match=r"u must be \(1,\) finite numbers.*got shape \(2,\)"):
        find_fixed_points(network(2, 4, 0, inputs=1), u=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"u must be \(0,\) finite numbers"):
        find_fixed_points(network(2, 4, 0), u=[1.0])
    broken = network(2, 4, 0)
    with torch.no_grad():
        broken.n[0, 0] = torch.nan
    with pytest.raises(ValueError, match="parameters must be finite"):
        find_fixed_points(broken)


def test_kinks_that_cancel_are_none():
    """The decision teacher's ramps are two units each, both with a kink at the origin: F is smooth there, a saddle."""
    from nwb_lowrank.sources.synthetic import decision_teacher

    found = find_fixed_points(decision_teacher())
    assert found.kinds == ["attractor", "attractor", "saddle (1 unstable)"]
    assert found.certificate["degree_sum"] == 1 and not any(found.certificate["on_kink"])
    # Float32 parameters, as in tests/sources/test_synthetic.py.
    np.testing.assert_allclose(found.eigenvalues[2], [1.04, 0.86], atol=1e-6)
