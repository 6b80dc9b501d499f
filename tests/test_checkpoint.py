"""Checkpoint: an exact round trip, and a file that is never half written."""

import json

import numpy as np
import pytest
import torch
from problems import generator
from safetensors import safe_open

from nwb_lowrank import checkpoint as module
from nwb_lowrank.checkpoint import Checkpoint, blend, state_of
from nwb_lowrank.model import LowRankRNN
from nwb_lowrank.proposals import Encoder

COUNTERS = dict(round=3, step=7, rate_scale=0.1 + 0.2, best=float("-inf"))
HISTORY = [dict(stage="fit", step=3, bound=1 / 3, validation=-1e-300)]
RECENT = [[0.1, 1 / 7]]
IDENTITY = dict(seed=2**40 + 1, trials="abc", settings=dict(segment=None, learning_rate=5e-3))


def parts(seed):
    """A model, a proposal and an optimiser that have taken two steps."""
    model = LowRankRNN(rank=2, units=3, neurons=4)
    proposal = Encoder(channels=2, kernel=3).attach(model)
    parameters = [*model.parameters(), *proposal.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    noise = generator(seed)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=noise)
        optimizer.step()
    return model, proposal, optimizer


def take(model, proposal, optimizer, best=True):
    average = {name: value + 1 for name, value in state_of(model, proposal).items()}
    best_state = {name: value - 1 for name, value in average.items()} if best else None
    return Checkpoint.take(model, proposal, optimizer, average, best_state, COUNTERS, HISTORY, RECENT, IDENTITY)


def equal(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype for name in first)


@pytest.mark.parametrize("best", [True, False])
def test_save_and_load_are_exact(best, tmp_path):
    saved = take(*parts(0), best)
    saved.save(tmp_path / "a.ckpt")
    loaded = Checkpoint.load(tmp_path / "a.ckpt")
    for name in ("state", "optimizer", "average"):
        assert equal(getattr(loaded, name), getattr(saved, name))
    assert equal(loaded.best_state, saved.best_state) if best else loaded.best_state is None
    assert (loaded.counters, loaded.history, loaded.recent, loaded.identity) == (COUNTERS, HISTORY, RECENT, IDENTITY)


def test_put_brings_back_parameters_and_moments(tmp_path):
    first, other = parts(0), parts(1)
    take(*first).save(tmp_path / "a.ckpt")
    Checkpoint.load(tmp_path / "a.ckpt").put(*other)
    for model, proposal, optimizer in (first, other):  # one more step: equal only if the moments came back, too
        for parameter in (*model.parameters(), *proposal.parameters()):
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    assert equal(state_of(*first[:2]), state_of(*other[:2]))


def test_later_steps_change_nothing_in_a_checkpoint():
    model, proposal, optimizer = parts(0)
    taken = take(model, proposal, optimizer)
    before = {name: {k: v.clone() for k, v in getattr(taken, name).items()} for name in ("state", "optimizer", "average")}
    optimizer.step()
    taken.put(*parts(1))
    assert all(equal(getattr(taken, name), value) for name, value in before.items())


def test_a_failed_write_leaves_the_previous_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "a.ckpt"
    take(*parts(0)).save(path)
    before = path.read_bytes()

    def full_disk(tensors, name, metadata):
        with open(name, "wb") as file:
            file.write(b"half a")
        raise OSError("No space left on device")

    monkeypatch.setattr(module, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        take(*parts(1)).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_checkpoint_holds_json_and_tensors_only(tmp_path):
    """Readable without this package, and without running anything."""
    take(*parts(0)).save(tmp_path / "a.ckpt")
    with safe_open(str(tmp_path / "a.ckpt"), "numpy") as file:
        header = {name: json.loads(value) for name, value in file.metadata().items()}
        assert np.array_equal(file.get_tensor("state/model.m"), parts(0)[0].m.detach())
    assert header["identity"] == IDENTITY


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", "cut", "fit"])
def test_other_files_are_refused_with_the_mend(content, tmp_path):
    path = tmp_path / "a.ckpt"
    take(*parts(0)).save(path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif content == "fit":  # safetensors, but somebody else's
        module.save_file({"x": torch.zeros(1)}, str(path), metadata={"recipe": "{}"})
    else:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="a.ckpt is not a checkpoint.*Delete it and fit again"):
        Checkpoint.load(path)


def test_blend_is_the_weighted_mean_and_copies_whole_numbers():
    average = dict(x=torch.tensor([1.0, 2.0]), n=torch.tensor(3))
    blend(average, dict(x=torch.tensor([3.0, 6.0]), n=torch.tensor(9)), 0.25)
    assert average["x"].tolist() == [1.5, 3.0] and average["n"].item() == 9
