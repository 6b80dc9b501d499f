"""Recipes: round trips through JSON, and no way for a data file to run code."""

import json

import pytest
import torch

from nwb_lowrank.gaussian import FullCovariance, ScalarCovariance
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.nonlinearities import Tanh
from nwb_lowrank.observations import Poisson
from nwb_lowrank.observations.base import Exp
from nwb_lowrank.proposals import Encoder
from nwb_lowrank.recipe import build, recipe


def through_json(part):
    return build(json.loads(json.dumps(recipe(part))))


def test_a_model_comes_back_with_every_choice():
    model = LowRankRNN(
        rank=2, units=5, neurons=4, inputs=1, nonlinearity=Tanh(), observation=Poisson(Exp()),
        noise=ScalarCovariance(), initial_noise=FullCovariance(),
    )  # fmt: skip
    twin = through_json(model)
    assert recipe(twin) == recipe(model)
    twin.load_state_dict(model.state_dict())  # strict: the same names and shapes
    z, u = torch.randn(3, 2), torch.randn(3, 1)
    assert torch.equal(twin.transition(z, u).mean, model.transition(z, u).mean)
    assert torch.equal(twin.observation.mean(z), model.observation.mean(z))


def test_constructor_arguments_come_back():
    twin = through_json(Encoder(channels=3, kernel=5, causal=True, precision=0.5))
    assert (twin.channels, twin.kernel, twin.causal, twin.precision) == (3, 5, True, 0.5)


@pytest.mark.parametrize("value", [None, True, 3, 0.1, "text", [1, [2.5, None]]])
def test_plain_values_are_their_own_recipe(value):
    assert through_json(value) == value


@pytest.mark.parametrize("name", ["os:system", "builtins:eval", "nwb_lowrank_evil.part:Part", "nwb_lowrank:Trials"])
def test_other_packages_are_refused(name):
    with pytest.raises(ValueError, match="expected a class from nwb_lowrank.*trusted"):
        build({"class": name, "arguments": {}})


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("nwb_lowrank.families:export", {"package": "json", "path": [], "namespace": []}),  # a function that imports
        ("nwb_lowrank.checkpoint:Path", {}),  # a class that merely passed through a trusted module
    ],
)
def test_only_classes_of_the_trusted_package_itself_are_built(name, arguments):
    """A trusted module's namespace also holds functions and other packages' classes: none may be called by a file."""
    with pytest.raises(ValueError, match="recipe"):
        build({"class": name, "arguments": arguments})


def test_a_caller_may_trust_more():
    description = {"class": "fractions:Fraction", "arguments": {"numerator": 1, "denominator": 2}}
    assert build(description, trusted=("nwb_lowrank.", "fractions")) == 0.5
