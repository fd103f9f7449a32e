"""The Mixture-of-Experts layer in which no parameter is lost.

    import sluice

    spec = sluice.MoeSpec(num_experts=8, top_k=2, hidden_size=64, intermediate_size=128,
                          routing_method="DeepSeekV3", routed_scaling_factor=2.5)
    layer = sluice.layer(spec, {"gate_up_proj": w1, "down_proj": w2,
                                "e_score_correction_bias": bias})
    output, topk_ids, topk_weights = layer.forward(hidden_states, router_logits)

``sluice.audit`` finds lost, doubled and mis-defaulted parameters in any callable or backend;
``sluice.compat.flashinfer`` has FlashInfer's calls on our backends. What a layer computes:
docs/semantics.md. Errors: ``sluice.Error``.
"""

from . import _exit, adapters, compat
from ._audit import audit, callable_backend, mutation_score
from ._core import (
    AuditFailure,
    AuditReport,
    Backend,
    CheckReport,
    CutWidth,
    Family,
    Field,
    FieldReport,
    MoeSpec,
    Mutant,
    MutantVerdict,
    MutationScore,
    RatedMutant,
    RoutingMethod,
    Tensor,
    TestRating,
    backend,
    backends,
    families,
    family,
    fields,
    inject,
    load_plugin,
    mutants,
    rate_test,
    routing_method,
    routing_methods,
    spec_from_config,
)
from ._errors import Error
from ._layer import Layer, LayerOutput, layer, route
from ._oracle import Truth, oracle

__all__ = [
    "AuditFailure", "AuditReport", "Backend", "CheckReport", "CutWidth", "Error", "Family", "Field",
    "FieldReport", "Layer", "LayerOutput", "MoeSpec", "Mutant", "MutantVerdict", "MutationScore",
    "RatedMutant", "RoutingMethod", "Tensor", "TestRating", "Truth", "adapters", "audit", "backend",
    "backends", "callable_backend", "compat", "families", "family", "fields", "inject", "layer",
    "load_plugin", "mutants", "mutation_score", "oracle", "rate_test", "route", "routing_method",
    "routing_methods", "spec_from_config",
]
