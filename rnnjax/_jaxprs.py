"""Jaxprs of loop bodies: tracing, inlining, evaluating, and who reads what."""

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import jax
from jax.extend import core, linear_util
from jax.interpreters import partial_eval

# Of jax.extend.core; its own annotations say too little of avals and params to check against.
Jaxpr = Any
Eqn = Any
Var = Any
Atom = Any  # a Var or a Literal

Hook = Callable[[Eqn, Sequence[Any]], Sequence[Any] | None]

# Calls that only group equations: the parameter that holds their jaxpr.
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
# Calls that say how to differentiate: once nothing is differentiated any more, they too only group equations.
RULES = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "remat": "jaxpr", "checkpoint": "jaxpr"}


def trace(function: Callable, avals: Sequence[Any]) -> tuple[Jaxpr, list[Any]]:
    """The jaxpr of `function(*values)`, which returns a list, and the constants that are its first inputs.

    Unlike `jax.make_jaxpr` it takes avals as they are: shardings, varying axes, weak types, symbolic dimensions.
    """
    jaxpr, _, consts = partial_eval.trace_to_jaxpr_dynamic(wrapped(function), list(avals))
    return with_consts_as_inputs(jaxpr), list(consts)


def wrapped(function: Callable) -> Any:
    """A function as JAX's tracers take it."""
    info = core.DebugInfo("rnnjax.scan", getattr(function, "__name__", "loop"), None, None)
    return linear_util.wrap_init(function, debug_info=info)


def with_consts_as_inputs(closed: Any) -> Jaxpr:
    """A jaxpr with its constants as first inputs."""
    jaxpr = getattr(closed, "jaxpr", closed)
    return jaxpr.replace(constvars=(), invars=[*jaxpr.constvars, *jaxpr.invars])


def open_jaxpr(closed: Any) -> Jaxpr:
    """The jaxpr of one that has no constants."""
    return getattr(closed, "jaxpr", closed)


def is_var(atom: Atom) -> bool:
    """Whether an atom is a var, not a literal."""
    return not isinstance(atom, core.Literal)


def avals(atoms: Iterable[Atom]) -> list[Any]:
    """What is known of each atom beside its value."""
    return [atom.aval for atom in atoms]


def variables(atoms: Iterable[Atom]) -> list[Var]:
    """The vars among atoms, each once, in order."""
    return list(dict.fromkeys(atom for atom in atoms if is_var(atom)))


def inline(jaxpr: Jaxpr, calls: dict[str, str]) -> Jaxpr:
    """The jaxpr with the equations of `calls` in their place, without dead equations."""
    if not any(eqn.primitive.name in calls for eqn in jaxpr.eqns):
        return without_dead_equations(jaxpr)
    eqns: list[Eqn] = []
    atoms = _inline_into(eqns, jaxpr, {}, calls, core.gensym())
    return without_dead_equations(with_equations(jaxpr, eqns, atoms))


def with_equations(jaxpr: Jaxpr, eqns: list[Eqn], outvars: list[Atom]) -> Jaxpr:
    """A jaxpr of the same inputs with other equations and outputs."""
    return jaxpr.replace(eqns=eqns, outvars=outvars, debug_info=_nameless(jaxpr))


def _nameless(jaxpr: Jaxpr) -> Any:
    return jaxpr.debug_info.with_unknown_names()


def _inline_into(eqns: list[Eqn], jaxpr: Jaxpr, env: dict[Var, Atom], calls: dict[str, str], new: Callable) -> list:
    """Appends the equations of a jaxpr, its vars renamed by env and else kept; returns its outputs."""

    def renamed(atom):
        return env.get(atom, atom) if is_var(atom) else atom

    for eqn in jaxpr.eqns:
        operands = [renamed(atom) for atom in eqn.invars]
        if not _may_inline(eqn, calls):
            eqns.append(eqn.replace(invars=operands, outvars=[env.get(var, var) for var in eqn.outvars]))
            continue
        closed = eqn.params[calls[eqn.primitive.name]]
        inner = open_jaxpr(closed)
        if getattr(closed, "consts", ()):
            raise NotImplementedError("a call with constants of its own")
        inside: dict[Var, Atom] = dict(zip(inner.invars, operands, strict=True))
        inside |= {var: new(var.aval) for inner_eqn in inner.eqns for var in inner_eqn.outvars}
        outs = _inline_into(eqns, inner, inside, calls, new)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [renamed(atom) for atom in jaxpr.outvars]


def _may_inline(eqn: Eqn, calls: dict[str, str]) -> bool:
    if eqn.primitive.name not in calls or len(getattr(eqn.params[calls[eqn.primitive.name]], "consts", ())):
        return False
    shardings = (*eqn.params.get("in_shardings", ()), *eqn.params.get("out_shardings", ()))
    return not eqn.params.get("prevent_cse", False) and all(type(s).__name__ == "UnspecifiedValue" for s in shardings)


def evaluate(jaxpr: Jaxpr, inputs: Sequence[Any], hook: Hook = lambda eqn, values: None) -> list[Any]:
    """The outputs of a jaxpr without constants; where `hook(eqn, values)` is not None, it replaces an equation."""
    env = dict(zip(jaxpr.invars, inputs, strict=True))
    run(jaxpr, jaxpr.eqns, env, hook)
    return [read(env, atom) for atom in jaxpr.outvars]


def read(env: dict, atom: Atom) -> Any:
    """The value of an atom: what env has for a var, its own for a literal."""
    return env[atom] if is_var(atom) else atom.val


def run(jaxpr: Jaxpr, eqns: Iterable[Eqn], env: dict, hook: Hook = lambda eqn, values: None) -> None:
    """Evaluates equations of a jaxpr in order, reading and writing values in env."""
    for eqn in eqns:
        outs = hook(eqn, [read(env, atom) for atom in eqn.invars])
        if outs is None:
            # One equation as a jaxpr: eval_jaxpr knows how to bind each primitive and keeps names for the profiler.
            used = variables(eqn.invars)
            single = jaxpr.replace(
                constvars=(), invars=used, outvars=eqn.outvars, eqns=[eqn], debug_info=_nameless(jaxpr)
            )
            outs = jax.core.eval_jaxpr(single, (), *(env[var] for var in used))
        env.update(zip(eqn.outvars, outs, strict=True))


def without_dead_equations(jaxpr: Jaxpr) -> Jaxpr:
    """The jaxpr without equations that none of its outputs needs."""
    eqns = needed(jaxpr.eqns, jaxpr.outvars)
    return jaxpr if len(eqns) == len(jaxpr.eqns) else jaxpr.replace(eqns=eqns)


def needed(eqns: Sequence[Eqn], outputs: Iterable[Atom], given: Collection[Var] = ()) -> list[Eqn]:
    """The equations that outputs depend on, in order, where the values of `given` are there."""
    wanted, kept = set(variables(outputs)) - set(given), []
    for eqn in reversed(eqns):
        if any(var in wanted for var in eqn.outvars):
            kept.append(eqn)
            wanted.update(var for var in variables(eqn.invars) if var not in given)
    return kept[::-1]


def follows_from(eqn: Eqn, given: Collection[Var]) -> bool:
    """Whether an equation reads vars, and only such that are given."""
    read = variables(eqn.invars)
    return bool(read) and all(var in given for var in read)


def chosen(mask: Iterable[bool], values: Iterable[Any]) -> list[Any]:
    """The values where the mask is true."""
    return [value for value, is_chosen in zip(values, mask, strict=True) if is_chosen]


def reads(eqns: Iterable[Eqn], outputs: Iterable[Atom] = ()) -> set[Var]:
    """The vars that equations and outputs read."""
    return set(variables(itertools.chain(outputs, *(eqn.invars for eqn in eqns))))


def makers(eqns: Iterable[Eqn]) -> dict[Var, Eqn]:
    """The equation that makes each var."""
    return {var: eqn for eqn in eqns for var in eqn.outvars}


def readers(jaxpr: Jaxpr) -> dict[Var, list[Eqn | None]]:
    """The equations that read each var, None for an output; one entry for each use."""
    found: dict[Var, list[Eqn | None]] = {}
    for eqn in [*jaxpr.eqns, None]:
        for atom in jaxpr.outvars if eqn is None else eqn.invars:
            if is_var(atom):
                found.setdefault(atom, []).append(eqn)
    return found


def size(atom: Atom) -> Any:
    """Bytes of a value; symbolic if a dimension is."""
    total = getattr(atom.aval.dtype, "itemsize", 8)
    for dimension in atom.aval.shape:
        total = total * dimension
    return total


def assumed_size(atom: Atom) -> int:
    """Bytes of a value to choose by, where any symbolic dimension stands for 64."""
    total = getattr(atom.aval.dtype, "itemsize", 8)
    for dimension in atom.aval.shape:
        total *= dimension if isinstance(dimension, int) else 64
    return total


def is_float(atom: Atom) -> bool:
    """Whether a value can have a tangent."""
    return jax.numpy.issubdtype(atom.aval.dtype, jax.numpy.inexact)


def bytes_of(atoms: Iterable[Atom]) -> Any:
    """The bytes of values together, each counted once."""
    return sum(map(size, variables(atoms)))


def at_most(bytes_: Any, limit: Any) -> bool:
    """Whether bytes are within a limit; false where that depends on a symbolic dimension."""
    try:
        return bool(bytes_ <= limit)
    except core.InconclusiveDimensionOperation:
        return False
