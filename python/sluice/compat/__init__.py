"""Other libraries' calls, on our backends."""

from . import flashinfer

__all__ = ["flashinfer"]
