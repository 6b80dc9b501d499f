"""What every nonlinearity offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Nonlinearity(nn.Module, ABC):
    """φ(x, h), elementwise over H hidden units, with a learnable bias h of shape (H,).

    piecewise_linear : the certified fixed-point search can solve it exactly. It can enclose a smooth φ that offers
        `touching` (and `inflections`, if it has any).
    bounded : φ stays in a bounded range whatever x, so that all fixed points lie in a known box.
    """

    piecewise_linear: bool = False
    bounded: bool = False

    def attach(self, units: int) -> Nonlinearity:
        """Create the bias of `units` hidden units."""
        self.h = nn.Parameter(torch.zeros(units))
        return self

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """φ(x, h), (..., H) -> (..., H)."""

    @abstractmethod
    def slope(self, x: Tensor) -> Tensor:
        """∂φ/∂x, (..., H) -> (..., H); at a kink the slope to its right."""

    def kinks(self) -> Tensor:
        """(J, H) where φ changes slope, rising along J; J = 0 for smooth or linear φ."""
        return self.h.new_zeros((0, self.h.shape[0]))

    def touching(self, slope: Tensor) -> Tensor | None:
        """(J, ..., H) every x at which a smooth φ has this slope (..., H), NaN where there is none; None: not known."""
        return None

    def inflections(self) -> Tensor:
        """(J, H) every x at which the slope of a smooth φ has an extreme."""
        return self.h.new_zeros((0, self.h.shape[0]))
