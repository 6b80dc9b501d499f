"""Fixed points within seconds: a proof where it is cheap, Newton's method where it is not."""

from __future__ import annotations

from ..fixed_points import find_fixed_points
from ..model import LowRankRNN
from ..results import FixedPoints
from ..searches.base import Dynamics, Search
from ..searches.certified import Certified
from ..searches.newton import Newton

SMOOTH_BOXES = 5_000  # boxes tried for a proof with a smooth φ, whose continua would take every box that is allowed


def points_of(model: LowRankRNN, u=None, search: Search | None = None) -> FixedPoints:
    """find_fixed_points, but for a smooth φ with few boxes and then, if that proved nothing, with Newton()."""
    dynamics = Dynamics.of(model, u)
    if search is not None or dynamics.nonlinearity.piecewise_linear or not dynamics.certifiable:
        return find_fixed_points(model, u=u, search=search)
    found = find_fixed_points(model, u=u, search=Certified(max_boxes=SMOOTH_BOXES))
    return found if found.complete else find_fixed_points(model, u=u, search=Newton())
