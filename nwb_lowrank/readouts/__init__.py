"""η_t of z_t: one file per readout."""

from ..families import export

__all__ = export(__name__, __path__, globals())
