"""One recorded neuron, one hidden unit: its rate."""

from __future__ import annotations

from .unit_currents import UnitCurrents


class UnitRates(UnitCurrents):
    """η_i = g_i φ((m z)_i, h_i) + d_i: neuron i is the network's hidden unit i, seen through its rate."""

    def activity(self, current):
        return self.network.nonlinearity(current)[..., : self.neurons]

    def slope(self, current):
        return self.network.nonlinearity.slope(current)[..., : self.neurons]
