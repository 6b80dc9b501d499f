"""Clipped ReLU, the nonlinearity of the paper."""

import torch
from torch import Tensor

from .base import Nonlinearity


class ClippedReLU(Nonlinearity):
    """φ(x, h) = max(x + h, 0) − max(x, 0): rises (h > 0) or falls (h < 0) from 0 to h.

    Hess, Monfared, Brenner, Durstewitz 2023; used by Pals et al. 2024.
    """

    piecewise_linear = True
    bounded = True

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.h).relu() - x.relu()

    def slope(self, x: Tensor) -> Tensor:
        return (x + self.h >= 0).to(x) - (x >= 0).to(x)

    def kinks(self) -> Tensor:
        zero = torch.zeros_like(self.h)
        return torch.stack([torch.minimum(-self.h, zero), torch.maximum(-self.h, zero)])
