"""Auditing Python callables, and everything else that is a backend."""

from __future__ import annotations

from typing import Any, Callable, Iterable

from . import _callables, _core
from ._core import AuditReport, Backend, MoeSpec, MutationScore
from ._errors import Error


def callable_backend(
    fn: Any,
    claims: str | Iterable[str],
    *,
    name: str | None = None,
    arrays: str = "numpy",
    device: str = "cpu",
    batch_invariant: bool = False,
) -> Backend:
    """A Python callable as a Backend, for ``sluice.layer``, ``sluice.inject`` and ``sluice.audit``.

    fn(spec, weights, hidden_states, router_logits, topk_ids, topk_weights) returns the output
    [tokens, H], or (output, topk_ids [tokens, K], topk_weights [tokens, K]). Either router_logits
    [tokens, E], or topk_ids [tokens, K] int32 and topk_weights [tokens, K] are given; the others are
    None. ``weights`` is a dict by the names of :func:`sluice.layer`, of this rank's experts in local
    order (also where an expert_map holds all of them, in another order than the global one).
    Instead of a function, an object with ``load(spec, weights)`` is called once per layer and returns
    forward(hidden_states, router_logits, topk_ids, topk_weights); if it has
    ``refusals(spec) -> {field: reason}``, that is asked first.

    claims   the fields that fn honours, by name ("routed_scaling_factor", "router.*", "all"). Any
             other field that is not neutral is refused before fn sees the layer. Sizes are always
             claimed.
    arrays   what fn gets: "numpy" (16- and 32-bit floats as float32, holding the same values),
             "ml_dtypes" (NumPy with ml_dtypes' bfloat16), "tensor" (sluice.Tensor) or "torch"
    device   of torch tensors: "cpu", "cuda", …
    batch_invariant  a token's bits do not depend on the other tokens: a claim, which is audited

    Outputs may be of any kind; other dtypes are converted to the layer's output dtype, but for floats
    of 8 bits, which are refused. All arrays are fn's own copies, but inputs are read-only: a call that
    leaves other values in its hidden states, logits, ids or routing weights is an Error, whatever the
    kind of arrays.
    What fn raises becomes an Error (internal) that names the exception; KeyboardInterrupt, SystemExit
    and whatever else is no Exception stay what they are.
    """
    if not callable(fn) and not hasattr(fn, "load"):
        raise Error(f"fn is {fn!r}; it must be a function, or an object with load(spec, weights)")
    if arrays == "numpy":
        arrays = getattr(fn, "numpy_as", arrays)
    name = name or getattr(fn, "__name__", None) or type(fn).__name__
    return _core.CallableBackend(
        name,
        _callables.claim_list(claims),
        _callables.loader(fn, _callables.converter(arrays, device)),
        getattr(fn, "refusals", None),
        batch_invariant,
    )


def _subject(subject: Any, claims: Any, name: str | None, arrays: str, device: str,
             batch_invariant: bool) -> Backend:
    if isinstance(subject, (Backend, str)):
        if claims is not None:
            raise Error("claims are given and the subject is a backend, which has its own")
        return _core.backend(subject) if isinstance(subject, str) else subject
    if claims is None:
        claims = getattr(subject, "claims", None)
    if claims is None:
        raise Error("claims are missing; name the fields that the callable honours, or say \"all\"")
    return callable_backend(subject, claims, name=name, arrays=arrays, device=device,
                            batch_invariant=batch_invariant)


def _reports_routing(subject: Any, reports_routing: bool | None) -> bool:
    if reports_routing is not None:
        return reports_routing
    return isinstance(subject, (Backend, str))


def _bf16_tokens(subject: Any, bf16_tokens: bool | None) -> bool:
    return getattr(subject, "bf16_tokens", False) if bf16_tokens is None else bf16_tokens


def audit(
    fn: Any,
    claims: str | Iterable[str] | None = None,
    *,
    suite: str = "quick",
    seed: int = 1,
    spec: MoeSpec | None = None,
    name: str | None = None,
    arrays: str = "numpy",
    device: str = "cpu",
    batch_invariant: bool = False,
    slot_outputs_rounded: bool = False,
    reports_routing: bool | None = None,
    bf16_tokens: bool | None = None,
    rounds: int = 0,
    diagnose: bool = True,
    replay_directory: str = "",
    progress: Callable[[str], None] | None = None,
    threads: int = 0,
) -> AuditReport:
    """Does it apply every field that it claims, exactly once, and compute the layer right?

    fn, claims, name, arrays, device, batch_invariant: as for :func:`callable_backend`. fn may also be
    a Backend or a backend's name, which have claims of their own.

    suite    "quick", "full", or one class "A" … "Q" of docs/lost-parameters.md
    seed     cases are drawn from it: the same seed gives the same cases
    spec     cases keep this spec's fields and sizes instead of drawing them, but widths above 128 are
             cut, and the report's ``widths`` says which
    slot_outputs_rounded  fn rounds expert outputs to the activation format before combining them; a
                          backend is let do so (may_round_slot_outputs of :func:`sluice.layer`)
    reports_routing       fn returns ids and weights, which are then judged too (default: not for
                          callables)
    bf16_tokens           hidden states are bfloat16 in every case: for a fn that takes no others
    rounds   draws per check; 0: what the suite says
    replay_directory      where failing cases are written, for `sluice layer`; empty: nowhere
    progress called with each check's name

    fn runs in this process: a crash in it ends the process. Exceptions are failures of the report;
    KeyboardInterrupt and SystemExit end the audit. Ctrl-C is seen between two calls of fn, too.
    Raises Error (user) for an unknown suite, and for a spec that the claims do not cover.
    """
    subject = _subject(fn, claims, name, arrays, device, batch_invariant)
    settings = _core.AuditSettings(suite, seed, rounds, spec, slot_outputs_rounded,
                                   _reports_routing(fn, reports_routing),
                                   _bf16_tokens(fn, bf16_tokens), diagnose, str(replay_directory),
                                   threads)
    return _core.audit(subject, settings, progress)


def mutation_score(
    fn: Any,
    claims: str | Iterable[str] | None = None,
    *,
    suite: str = "quick",
    seed: int = 1,
    name: str | None = None,
    arrays: str = "numpy",
    device: str = "cpu",
    slot_outputs_rounded: bool = False,
    reports_routing: bool | None = None,
    bf16_tokens: bool | None = None,
    rounds: int = 0,
    progress: Callable[[str], None] | None = None,
    threads: int = 0,
) -> MutationScore:
    """Audits every mutant of a backend: how many faults would the audit notice in it?

    The subject must be right; arguments are those of :func:`audit`.
    """
    subject = _subject(fn, claims, name, arrays, device, False)
    settings = _core.AuditSettings(suite, seed, rounds, None, slot_outputs_rounded,
                                   _reports_routing(fn, reports_routing),
                                   _bf16_tokens(fn, bf16_tokens), True, "", threads)
    return _core.audit_mutants(subject, settings, progress)
