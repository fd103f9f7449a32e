"""Layers kept for calls that bring their weights along every time."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Callable, NamedTuple

import numpy as np

from .. import _arrays
from .._layer import Layer


class CacheInfo(NamedTuple):
    layers: int  #: packed layers now held
    packed: int  #: times that weights were packed
    reused: int  #: calls that found their layer


class _Entry(NamedTuple):
    layer: Layer
    versions: tuple
    alive: tuple  # weak references, whose death removes the entry


def _place(array: Any) -> tuple:
    """Where an array lies and how: equal for equal views of the same living memory."""
    if _arrays.is_torch(array):
        return ("torch", array.data_ptr(), tuple(array.shape), array.stride(), str(array.dtype),
                str(array.device))
    if isinstance(array, np.ndarray):
        return ("numpy", array.__array_interface__["data"][0], array.shape, array.strides,
                array.dtype.name)
    return ("object", id(array))


def _version(array: Any) -> int:
    """Counts torch's in-place changes; torch does not count those of inference tensors."""
    if not _arrays.is_torch(array) or array.is_inference():
        return 0
    return array._version


class PackedLayers:
    """Layers by the identity of their weights; a layer lives as long as the arrays it came from."""

    def __init__(self) -> None:
        self._entries: dict[tuple, _Entry] = {}
        self._lock = threading.RLock()  # a weak reference may die inside
        self._packed = 0
        self._reused = 0

    def get(self, weights: tuple, key: tuple, pack: Callable[[], Layer]) -> Layer:
        whole = (tuple(_place(array) for array in weights), key)
        versions = tuple(_version(array) for array in weights)
        with self._lock:
            entry = self._entries.get(whole)
            if entry is not None and entry.versions == versions:
                self._reused += 1
                return entry.layer
        layer = pack()
        with self._lock:
            self._packed += 1
            forget = lambda _, whole=whole: self._forget(whole)
            alive = tuple(weakref.ref(array, forget) for array in weights)
            self._entries[whole] = _Entry(layer, versions, alive)
        return layer

    def _forget(self, whole: tuple) -> None:
        with self._lock:
            self._entries.pop(whole, None)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()

    def info(self) -> CacheInfo:
        with self._lock:
            return CacheInfo(len(self._entries), self._packed, self._reused)
