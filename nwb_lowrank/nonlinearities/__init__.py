"""φ, its slope and its kinks: one file per nonlinearity."""

from ..families import export

__all__ = export(__name__, __path__, globals())
