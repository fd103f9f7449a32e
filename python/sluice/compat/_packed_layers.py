"""Layers kept for calls that bring their weights along every time."""

from __future__ import annotations

import threading
import weakref
from typing import Any, Callable, NamedTuple

import numpy as np

from .. import _arrays
from .._errors import Error
from .._layer import Layer


class SmallValues:
    """Values of small arrays. On a GPU reading them waits for it, so each tensor is read once.

    A tensor that was read is kept, so that its memory cannot become another's; torch's in-place
    changes make it a new one.
    """

    _MOST = 256

    def __init__(self) -> None:
        self._seen: dict[tuple, tuple[Any, np.ndarray]] = {}
        self._lock = threading.Lock()

    def bits(self, array: Any, name: str) -> np.ndarray:
        if not _arrays.is_torch(array) or array.device.type == "cpu":
            return _arrays.bits_of(array, name)
        key = (*_place(array), _version(array))
        with self._lock:
            if key in self._seen:
                return self._seen[key][1]
        import torch

        if torch.cuda.is_current_stream_capturing():
            raise Error(f"{name} is a tensor on {array.device} that was not seen before, and its "
                        "values cannot be read while a CUDA graph is captured: make one call with "
                        "this very tensor first")
        bits = _arrays.bits_of(array.cpu(), name).copy()
        with self._lock:
            if len(self._seen) >= self._MOST:
                self._seen.pop(next(iter(self._seen)))  # the oldest
            self._seen[key] = (array, bits)
        return bits


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
