"""One MoE layer on one backend."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple

from . import _arrays, _core
from ._core import Backend, MoeSpec
from ._errors import Error


class LayerOutput(NamedTuple):
    """What a forward pass gives: the layer's output, and what the router chose."""

    output: Any  #: [tokens, H], dtype by the spec's output_dtype
    topk_ids: Any  #: [tokens, K] int32, global expert ids
    topk_weights: Any  #: [tokens, K] float32, as applied


class Layer:
    """One MoE layer, its weights packed by and for one backend. Made by :func:`layer`.

    Calls may come from several threads; they run one after the other, without the GIL.
    """

    def __init__(self, core: _core.Layer) -> None:
        self._core = core

    @property
    def spec(self) -> MoeSpec:
        return self._core.spec

    @property
    def backend(self) -> str:
        """The name of the backend that computes the layer."""
        return self._core.backend

    @property
    def variant(self) -> str:
        """The kernel that runs, e.g. "gemm_bf16_bf16_avx512_bf16"."""
        return self._core.variant

    @property
    def weight_bytes(self) -> int:
        """Memory that the packed weights take."""
        return self._core.weight_bytes

    def workspace_bytes(self, tokens: int) -> int:
        """What a call of that many tokens needs; kept for later calls."""
        if tokens < 0:
            raise Error(f"tokens is {tokens}; it must be 0 or more")
        return self._core.workspace_bytes(tokens)

    def forward(
        self,
        hidden_states: Any,
        router_logits: Any = None,
        topk_ids: Any = None,
        topk_weights: Any = None,
        *,
        token_count: Any = None,
        output: Any = None,
        stream: int | None = None,
    ) -> LayerOutput:
        """Computes the layer for some tokens (0 is legal).

        hidden_states  [tokens, H] float32, bfloat16 or float16
        router_logits  [tokens, E] float32 or bfloat16, without router_bias
        topk_ids       [tokens, K] int32 or int64, distinct within a row, and with them
        topk_weights   [tokens, K] float32 or bfloat16: final, normalised and scaled already
        token_count    [1] int32: rows at and beyond it are not computed, and what the results hold
                       there is left as it is. On a GPU it is read when the work runs, so that a
                       captured graph serves every number of tokens up to its rows
        output         [tokens, H]: written and returned, if given
        stream         of CUDA tensors, which must then be contiguous, as an address; None: torch's
                       (or CuPy's) current one

        Give the logits, or ids and weights, or neither if the weights hold "router.weight".
        Arrays are NumPy or anything with DLPack, read where they lie if they are contiguous. Outputs
        are of hidden_states' kind: torch for torch, NumPy for NumPy. All are in one place: on the
        GPU of the layer's backend nothing is copied and nothing waits (calls of one layer share a
        workspace: on several streams they need an order); from host memory every backend works.
        Raises Error: "user" for shapes, dtypes, ids and weights, naming the first offending token.
        """
        for name, array in (("hidden_states", hidden_states), ("router_logits", router_logits),
                            ("topk_ids", topk_ids), ("topk_weights", topk_weights)):
            _arrays.check_ordered(array, name, stream)
        hidden = _arrays.view(hidden_states, "hidden_states")
        # Before the output is made, which may have to be of this type.
        if hidden.dtype not in ("F32", "BF16", "F16"):
            raise Error(f"hidden_states is {hidden.dtype}; it must be F32, BF16 or F16")
        tokens = hidden.shape[0] if hidden.shape else 0
        top_k = self._core.spec.top_k
        if output is None:
            output = _arrays.empty_like(hidden_states, hidden.shape,
                                        self._core.output_dtype(hidden))
        ids = _arrays.empty_like(hidden_states, (tokens, top_k), "I32")
        weights = _arrays.empty_like(hidden_states, (tokens, top_k), "F32")
        self._core.forward(
            hidden,
            _arrays.optional(router_logits, "router_logits"),
            _arrays.optional(topk_ids, "topk_ids"),
            _arrays.optional(topk_weights, "topk_weights"),
            _arrays.optional(token_count, "token_count"),
            _arrays.view(output, "output", writable=True),
            _arrays.view(ids, "topk_ids", writable=True),
            _arrays.view(weights, "topk_weights", writable=True),
            _arrays.stream_of(hidden_states, hidden, stream),
        )
        return LayerOutput(output, ids, weights)

    def __call__(self, hidden_states: Any, router_logits: Any = None, topk_ids: Any = None,
                 topk_weights: Any = None) -> Any:
        """The output of :meth:`forward` alone."""
        return self.forward(hidden_states, router_logits, topk_ids, topk_weights).output

    def __repr__(self) -> str:
        return f"sluice.Layer({self.backend}: {self.variant}, {self.weight_bytes} bytes)"


def layer(
    spec: MoeSpec,
    weights: Mapping[str, Any],
    backend: str | Backend = "auto",
    *,
    threads: int = 0,
    device: int = 0,
    workspace_limit: int = 0,
    may_round_slot_outputs: bool = False,
) -> Layer:
    """Packs one MoE layer for a backend.

    weights, by name, experts stacked: all E of them in global order, as in a checkpoint, whatever
      expert_map says; or only this rank's, in local order:
      gate_up_proj [E, 2I, H] ([E, I, H] if not gated), down_proj [E, H, I] in the spec's
      weight_format (float32 is rounded to it);
      e_score_correction_bias [E], router_bias [E], gate_up_bias [E, 2I], down_bias [E, H],
      shared.gate_up_proj [2S, H], shared.down_proj [H, S], shared_expert_gate [H];
      router.weight [E, H] to enter from hidden states alone;
      gate_up_scale, down_scale, gate_up_global_scale, down_global_scale of quantised formats.
    backend: a name, a Backend (a plugin, a faulty one, or a callable's: :func:`sluice.callable_backend`
      makes it), or "auto": the first that honours every field.
    threads: 0 for one per core.
    device: the GPU of a backend that has one; weights that are on a GPU decide it themselves. Weights
      may be in host memory or on that GPU.
    workspace_limit: bytes that calls may take; longer ones go through in pieces. 0: no bound.
    may_round_slot_outputs: a backend that profits may keep each expert's output in the activation
      format until it is summed ("cuda" does, the others ignore it): less memory and time for another
      rounding, which `oracle` and `audit` allow with slot_outputs_rounded.

    Raises Error: "user" lists every tensor that is missing, superfluous or misshapen; "unsupported"
    names every field that the backend refuses. The arrays are not needed afterwards.
    """
    chosen: str | Backend = "" if isinstance(backend, str) and backend == "auto" else backend
    return Layer(_core.Layer(spec, _arrays.views(dict(weights)), chosen, threads, device,
                              workspace_limit, may_round_slot_outputs))


def route(
    spec: MoeSpec, router_logits: Any, router_bias: Any = None, e_score_correction_bias: Any = None
) -> tuple[Any, Any]:
    """The experts that the spec's router chooses, and their weights as they are applied.

    router_logits [tokens, E] float32 or bfloat16; the biases [E] as the spec asks for them.
    Returns (ids [tokens, K] int32, weights [tokens, K] float32), NumPy, best first.
    """
    ids, weights = _core.route(
        spec,
        _arrays.host_view(router_logits, "router_logits"),
        None if router_bias is None else _arrays.host_view(router_bias, "router_bias"),
        None if e_score_correction_bias is None
        else _arrays.host_view(e_score_correction_bias, "e_score_correction_bias"),
    )
    return ids.bits(), weights.bits()
