"""Identity: linear latent dynamics."""

from torch import Tensor

from .base import Nonlinearity


class Identity(Nonlinearity):
    """φ(x, h) = x + h, a linear dynamical system (the exact oracle of the filter's tests)."""

    piecewise_linear = True

    def forward(self, x: Tensor) -> Tensor:
        return x + self.h

    def slope(self, x: Tensor) -> Tensor:
        return (x + self.h).new_ones(()).expand_as(x + self.h)
