"""Checkpoint: a fit under way, as tensors and JSON in one safetensors file."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

PARTS = ("counters", "history", "recent", "identity")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Parameters, optimiser state, averaged and best parameters, counters and history of a fit, and which fit it is."""

    state: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    average: dict[str, Tensor]
    best_state: dict[str, Tensor] | None
    counters: dict
    history: list[dict]
    recent: list
    identity: dict

    @classmethod
    def take(cls, model, proposal, optimizer, average, best_state, counters, history, recent, identity) -> Checkpoint:
        """Copy everything, so that later steps change nothing here."""
        moments = {
            f"{index}.{name}": value.detach().clone()
            for index, values in optimizer.state_dict()["state"].items()
            for name, value in values.items()
        }
        average = {name: value.clone() for name, value in average.items()}
        return cls(
            state_of(model, proposal),
            moments,
            average,
            best_state,
            counters,
            [dict(row) for row in history],
            list(recent),
            identity,
        )

    def put(self, model, proposal, optimizer) -> None:
        """Copy parameters and optimiser state back."""
        self.put_state(self.state, model, proposal)
        moments: dict[int, dict] = {}
        for key, value in self.optimizer.items():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = value.clone()
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})

    @staticmethod
    def put_state(state: dict[str, Tensor], model: nn.Module, proposal: nn.Module) -> None:
        """The inverse of `state_of`."""
        for part, module in (("model.", model), ("proposal.", proposal)):
            module.load_state_dict({name[len(part) :]: value for name, value in state.items() if name.startswith(part)})

    def save(self, path) -> None:
        """Write beside, then rename: a killed process leaves the previous checkpoint. Folders are made.

        Raises
        ------
        OSError
            It cannot be written there, or the disk is full; the previous checkpoint is left.
        """
        path = Path(path)
        groups = {"state": self.state, "optimizer": self.optimizer, "average": self.average, "best": self.best_state or {}}
        tensors = {f"{group}/{name}": value.cpu().contiguous() for group, values in groups.items() for name, value in values.items()}
        header = {name: json.dumps(getattr(self, name)) for name in PARTS}
        beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, str(beside), metadata=header)
            os.replace(beside, path)
        except (OSError, SafetensorError) as error:
            raise OSError(
                f"fit: cannot write the checkpoint '{path}' ({error}). Free some space, or name another file; "
                "an earlier checkpoint there is still good."
            ) from None
        finally:
            with suppress(OSError):  # the place may not even exist
                beside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path) -> Checkpoint:
        """Read what `save` wrote; ValueError when the file is not a checkpoint."""
        try:
            with safe_open(str(path), "pt") as file:
                header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
            parts = {name: json.loads(header[name]) for name in PARTS}
        except (SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"fit: {path} is not a checkpoint ({error}). Delete it and fit again.") from None
        groups = {
            group: {name[len(group) + 1 :]: value for name, value in tensors.items() if name.startswith(group + "/")}
            for group in ("state", "optimizer", "average", "best")
        }
        return cls(groups["state"], groups["optimizer"], groups["average"], groups["best"] or None, **parts)


def state_of(model: nn.Module, proposal: nn.Module) -> dict[str, Tensor]:
    """Copies of every parameter and buffer, keyed 'model.…' and 'proposal.…'."""
    return {
        f"{part}.{name}": value.detach().clone()
        for part, module in (("model", model), ("proposal", proposal))
        for name, value in module.state_dict().items()
    }


def blend(average: dict[str, Tensor], state: dict[str, Tensor], weight: float) -> None:
    """average ← (1 − weight) average + weight state, in place."""
    for name, value in state.items():
        average[name].lerp_(value, weight) if value.is_floating_point() else average[name].copy_(value)
