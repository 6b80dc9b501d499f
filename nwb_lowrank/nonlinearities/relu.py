"""ReLU."""

from torch import Tensor

from .base import Nonlinearity


class ReLU(Nonlinearity):
    """φ(x, h) = max(x + h, 0)."""

    piecewise_linear = True

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.h).relu()

    def slope(self, x: Tensor) -> Tensor:
        return (x + self.h >= 0).to(x)

    def kinks(self) -> Tensor:
        return -self.h[None]
