"""What every metric offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ..results import Posterior, Score
from ..trials import Trials


class Metric(ABC):
    """Scores of a posterior. Constructor arguments are settings, all with defaults."""

    @abstractmethod
    def __call__(self, posterior: Posterior, trials: Trials, split: np.ndarray) -> list[Score]:
        """Scores of the test trials; an empty list where the trials do not allow any."""
