"""What a training step is given: tensors, minibatches, segments, and randomness as a function of (seed, step)."""

from __future__ import annotations

import torch
from torch import Tensor

from .trials import Trials


def tensors(trials: Trials, like: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """y, u, seen, scored, on the device and in the precision of `like`: everything recorded is scored."""
    y, u = (torch.tensor(array).to(like) for array in (trials.counts, trials.inputs))
    seen, scored = (torch.tensor(array, device=like.device) for array in (trials.seen, trials.mask))
    return y, u, seen, scored


def generator_of(seed: int, step: int, device) -> torch.Generator:
    """The randomness of one step: a resumed run needs no stored state."""
    return torch.Generator(device).manual_seed((seed * 1_000_003 + step * 7_919 + 12_345) % 2**63)


def minibatch(rows: Tensor, size: int, step: int, seed: int) -> Tensor:
    """The rows of this step: every one once an epoch, in an order fixed by (seed, epoch)."""
    size = min(size, len(rows))
    epoch, position = divmod(step, len(rows) // size)
    order = torch.randperm(len(rows), generator=generator_of(seed, -1 - epoch, "cpu"))
    return rows[order[position * size : (position + 1) * size]]


def segments(batch: list[Tensor], bins: int | None, generator: torch.Generator) -> list[Tensor]:
    """The same random window of `bins` bins of every tensor, another for each trial; whole trials where that is no cut."""
    B, T = batch[0].shape[:2]
    if not bins or bins >= T:
        return batch
    first = torch.randint(T - bins + 1, (B, 1), generator=generator, device=generator.device)
    index = first + torch.arange(bins, device=generator.device)
    rows = torch.arange(B, device=generator.device)[:, None]
    return [x[rows, index] for x in batch]
