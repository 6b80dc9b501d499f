"""Hyperbolic tangent."""

from torch import Tensor

from .base import Nonlinearity


class Tanh(Nonlinearity):
    """φ(x, h) = tanh(x + h)."""

    bounded = True

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.h).tanh()

    def slope(self, x: Tensor) -> Tensor:
        return 1 - (x + self.h).tanh().square()
