"""Softplus, a smooth ReLU."""

import torch
from torch import Tensor
from torch.nn import functional

from .base import Nonlinearity


class Softplus(Nonlinearity):
    """φ(x, h) = log(1 + exp(x + h))."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.softplus(x + self.h, threshold=40.0)  # beyond, x + h differs from φ by less than 1e-17

    def slope(self, x: Tensor) -> Tensor:
        return (x + self.h).sigmoid()

    def touching(self, slope: Tensor) -> Tensor:
        return (torch.where((slope > 0) & (slope < 1), slope, torch.nan).logit() - self.h)[None]
