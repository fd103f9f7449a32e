"""Arrays in and out: NumPy, torch, and whatever speaks DLPack, without copies where possible.

NumPy has no bfloat16 of its own. Here it is ml_dtypes.bfloat16 where an array has that type, or a
``Tensor`` that tags a uint16 array.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ._core import Tensor
from ._errors import Error

# ml_dtypes' and torch's names of types that DLPack producers or NumPy cannot pass on.
_TAGS = {
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
}
_NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64,
          "I32": np.int32, "I16": np.int16, "U8": np.uint8}
_UNSIGNED = {1: np.uint8, 2: np.uint16}


def is_torch(array: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def _view_numpy(array: np.ndarray, writable: bool) -> Tensor:
    if not writable:
        array = np.ascontiguousarray(array)
    if tag := _TAGS.get(array.dtype.name):
        return Tensor(array.view(_UNSIGNED[array.dtype.itemsize]), tag, writable)
    return Tensor(array, None, writable)


def _view_torch(array: Any, writable: bool) -> Tensor:
    import torch

    array = array.detach()
    if not writable:
        array = array.contiguous()
    name = str(array.dtype).removeprefix("torch.")
    if name.startswith("float8"):
        if name not in _TAGS:
            raise Error(f"the Tensor's dtype is {array.dtype}, which nothing here reads")
        return Tensor(array.view(torch.uint8), _TAGS[name], writable)
    return Tensor(array, None, writable)


def view(array: Any, name: str, *, writable: bool = False) -> Tensor:
    """The array as a Tensor. Copies only what is strided, and never what is to be written."""
    try:
        if isinstance(array, Tensor):
            if writable and not array.writable:
                raise Error("the Tensor was made for reading; for results it is "
                            "sluice.Tensor(array, dtype, writable=True)")
            return array
        if isinstance(array, np.ndarray):
            return _view_numpy(array, writable)
        if is_torch(array):
            return _view_torch(array, writable)
        return Tensor(array, None, writable)
    except Error as error:
        raise Error(f"{name}: {error}", error.kind) from None


def stream_of(array: Any, tensor: Tensor, stream: int | None) -> int:
    """The CUDA stream of a call: what was given, or the current one of the array's library."""
    if stream is not None or tensor.device == "cpu":
        return stream or 0
    if is_torch(array):
        import torch

        return torch.cuda.current_stream(array.device).cuda_stream
    cupy = sys.modules.get("cupy")
    if cupy is not None and isinstance(array, cupy.ndarray):
        return cupy.cuda.get_current_stream().ptr
    return 0  # the default stream, with which __dlpack__ has synchronised


def check_ordered(array: Any, name: str, stream: int | None) -> None:
    """Refuses a strided torch tensor on a GPU where the call has a stream of its own: the copy that
    it needs would be made, and its memory used again, in the order of torch's current stream."""
    if stream is not None and is_torch(array) and array.is_cuda and not array.is_contiguous():
        raise Error(f"{name} has strides {tuple(array.stride())} and shape {tuple(array.shape)}, and "
                    "stream is given: make it contiguous in that stream, or leave stream out", "user")


def optional(array: Any, name: str) -> Tensor | None:
    return None if array is None else view(array, name)


def host_view(array: Any, name: str) -> Tensor:
    """The array as a Tensor that the host can read."""
    tensor = view(array, name)
    if tensor.device != "cpu":
        raise Error(f"{name} is on {tensor.device}; it must be in host memory", "unsupported")
    return tensor


def host_views(arrays: dict[str, Any]) -> dict[str, Tensor]:
    return {name: host_view(array, name) for name, array in arrays.items()}


def views(arrays: dict[str, Any]) -> dict[str, Tensor]:
    return {name: view(array, name) for name, array in arrays.items()}


def empty_like(reference: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """An uninitialised array of the reference's kind: torch for torch, NumPy for NumPy.

    BF16 for a NumPy reference without ml_dtypes' bfloat16 is a Tensor over a uint16 array.
    """
    if is_torch(reference):
        import torch

        name = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
                "I32": "int32"}[dtype]
        return torch.empty(shape, dtype=getattr(torch, name), device=reference.device)
    if view(reference, "hidden_states").device != "cpu":
        raise Error(f"hidden_states is a {type(reference).__name__} on a GPU; results there are made "
                    "for torch tensors only: torch.from_dlpack(hidden_states)", "unsupported")
    if dtype in _NUMPY:
        return np.empty(shape, _NUMPY[dtype])
    if isinstance(reference, np.ndarray) and reference.dtype.name == "bfloat16":
        return np.empty(shape, reference.dtype)
    return Tensor(np.empty(shape, np.uint16), dtype, writable=True)


def numbers(tensor: Tensor, name: str) -> np.ndarray:
    """The elements as numbers. Floats of 8 bits, whose bits NumPy would take for integers, are refused."""
    if tensor.dtype.startswith("F8"):
        raise Error(f"{name} is {tensor.dtype}; it must be F32, BF16 or F16")
    return tensor.numpy()


def bits_of(array: Any, name: str) -> np.ndarray:
    """The raw elements of a host array as NumPy, without a copy: uint16 for BF16."""
    return host_view(array, name).bits()
