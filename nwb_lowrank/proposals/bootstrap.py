"""Propose from the prior: the bootstrap filter."""

from .base import Proposal


class Bootstrap(Proposal):
    """q = p(z_t | z_{t−1}), blind to the data (Gordon, Salmond, Smith 1993): no message at all."""
