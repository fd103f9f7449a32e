"""A Python callable as a backend: arrays of the caller's choice in, arrays of any kind out."""

from __future__ import annotations

import fnmatch
from typing import Any, Callable, Iterable

import numpy as np

from . import _arrays, _core
from ._core import MoeSpec, Tensor
from ._errors import Error


def _as_numpy(tensor: Tensor) -> Any:
    """Floats as float32, integers as they are, 8-bit floats as the Tensor itself."""
    return tensor if tensor.dtype.startswith(("F8", "F4")) else tensor.numpy()


def _as_ml_dtypes(tensor: Tensor) -> Any:
    import ml_dtypes

    name = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
            "F8_E8M0": "float8_e8m0fnu"}.get(tensor.dtype)
    return tensor.bits() if name is None else tensor.bits().view(getattr(ml_dtypes, name))


def _as_torch(device: str) -> Callable[[Tensor], Any]:
    import torch

    names = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
             "F8_E8M0": "float8_e8m0fnu"}

    def convert(tensor: Tensor) -> Any:
        bits = tensor.bits()
        if tensor.dtype == "BF16":
            bits = bits.view(np.int16)
        array = torch.from_numpy(bits)
        if name := names.get(tensor.dtype):
            array = array.view(getattr(torch, name))
        return array.to(device)

    return convert


def converter(arrays: str, device: str) -> Callable[[Tensor], Any]:
    if arrays != "torch" and device != "cpu":
        raise Error(f'device is "{device}" and arrays "{arrays}"; only torch tensors move')
    if arrays == "torch":
        return _as_torch(device)
    if arrays == "tensor":
        return lambda tensor: tensor
    if arrays == "ml_dtypes":
        return _as_ml_dtypes
    if arrays == "numpy":
        return _as_numpy
    raise Error(f'arrays is "{arrays}"; choose among numpy, ml_dtypes, tensor, torch')


def claim_list(claims: str | Iterable[str]) -> list[str]:
    """Full names of the claimed fields; sizes are always claimed. "router.*" and "*" stand for many."""
    if isinstance(claims, str):
        claims = ["*"] if claims == "all" else [claims]
    known = _core.fields()
    chosen = {field.name for field in known if field.kind == "size"}
    for claim in claims:
        if not isinstance(claim, str):
            raise Error(f"a claim is {claim!r}; claims are names of fields")
        matches = [f.name for f in known if fnmatch.fnmatchcase(f.name, claim) or f.key == claim]
        # An unknown name goes through as it is: the registry's error knows the nearest one.
        chosen.update(matches or [claim])
    return sorted(chosen)


def _host(array: Any) -> Any:
    return array.cpu() if _arrays.is_torch(array) else array


def _write_ids(tensor: Tensor, target: Tensor, what: str) -> None:
    """Ids as they were returned: the audit judges them, so a cast must not make other ids of them."""
    if tensor.dtype[0] not in "IU":
        raise Error(f"{what} is {tensor.dtype}; ids are integers: I32 or I64")
    ids = tensor.numpy()
    cast = ids.astype(np.int32)
    if (cast != ids).any():
        raise Error(f"{what} holds {ids[cast != ids][0]}; an id must fit in {target.dtype}")
    target.bits()[...] = cast


def _write(result: Any, target: Tensor, what: str) -> None:
    tensor = _arrays.view(_host(result), what)
    if tensor.shape != target.shape:
        raise Error(f"{what} has shape {list(tensor.shape)}; it must be {list(target.shape)}")
    if tensor.dtype == target.dtype:
        target.bits()[...] = tensor.bits()
    elif target.dtype in ("BF16", "F16"):
        values = _arrays.numbers(tensor, what).astype(np.float32)
        target.bits()[...] = Tensor.from_float32(values, target.dtype).bits()
    elif target.dtype == "I32":
        _write_ids(tensor, target, what)
    else:
        target.bits()[...] = _arrays.numbers(tensor, what)


_INPUTS = ("hidden_states", "router_logits", "topk_ids", "topk_weights")


def _bytes(array: Any) -> bytes:
    return _arrays.bits_of(_host(array), "input").tobytes()


def _changed(arrays: list[Any], tensors: tuple[Tensor | None, ...],
             convert: Callable[[Tensor], Any]) -> str | None:
    """The first input that is not what the tensor converts to: float32 copies of bfloat16 and copies
    on a device would take a write without a trace."""
    for name, array, tensor in zip(_INPUTS, arrays, tensors):
        if tensor is not None and _bytes(array) != _bytes(convert(tensor)):
            return name
    return None


def _forward(run: Callable[..., Any],
             convert: Callable[[Tensor], Any]) -> Callable[..., str | None]:
    def forward(hidden_states, router_logits, topk_ids, topk_weights, output, out_ids,
                out_weights):
        tensors = (hidden_states, router_logits, topk_ids, topk_weights)
        given = [None if t is None else convert(t) for t in tensors]
        result = run(*given)
        parts = result if isinstance(result, (tuple, list)) else (result,)
        if len(parts) not in (1, 3):
            raise Error(f"{len(parts)} results; give the output, or (output, ids, weights)")
        _write(parts[0], output, "output")
        if len(parts) == 3:
            for array, target, what in ((parts[1], out_ids, "topk_ids"),
                                        (parts[2], out_weights, "topk_weights")):
                if target is not None:
                    _write(array, target, what)
        else:
            # Not reported is said, not left to whatever memory held.
            if out_ids is not None:
                out_ids.bits()[...] = -1
            if out_weights is not None:
                out_weights.bits()[...] = np.nan
        return _changed(given, tensors, convert)

    return forward


def loader(fn: Any, convert: Callable[[Tensor], Any]) -> Callable[..., Any]:
    """What CallableBackend calls once per layer."""

    def load(spec: MoeSpec, weights: dict[str, Tensor]) -> Callable[..., str | None]:
        arrays = {name: convert(tensor) for name, tensor in weights.items()}
        if hasattr(fn, "load"):
            return _forward(fn.load(spec, arrays), convert)
        return _forward(lambda *given: fn(spec, arrays, *given), convert)

    return load
