"""p(y_t | z_t): one file per observation model."""

from ..families import export

__all__ = export(__name__, __path__, globals())
