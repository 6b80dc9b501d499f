"""Where fixed points may be: one file per search."""

from ..families import export

__all__ = export(__name__, __path__, globals())
