"""q(z_t | z_{t−1}, y): one file per proposal."""

from ..families import export

__all__ = export(__name__, __path__, globals())
