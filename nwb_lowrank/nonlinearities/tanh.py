"""Hyperbolic tangent."""

import torch
from torch import Tensor

from .base import Nonlinearity


class Tanh(Nonlinearity):
    """φ(x, h) = tanh(x + h)."""

    bounded = True

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.h).tanh()

    def slope(self, x: Tensor) -> Tensor:
        return 1 - (x + self.h).tanh().square()

    def touching(self, slope: Tensor) -> Tensor:
        side = (1 - torch.where((slope > 0) & (slope <= 1), slope, torch.nan)).sqrt().atanh()
        return torch.stack([-side, side]) - self.h

    def inflections(self) -> Tensor:
        return -self.h[None]
