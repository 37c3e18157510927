"""Traces, inlines and evaluates jaxprs, and finds out which equation reads what."""

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

config: Any = jax.config  # versions of JAX differ in which of its options they declare

Hook = Callable[[Eqn, Sequence[Any]], Sequence[Any] | None]

# Calls that only group equations: the parameter that holds their jaxpr.
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
# Calls that say how to differentiate: once nothing is differentiated any more, they too only group equations.
RULES = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "remat": "jaxpr", "checkpoint": "jaxpr"}


def trace(function: Callable, avals: Sequence[Any]) -> tuple[Jaxpr, list[Any]]:
    """Traces `function(*values)`, which returns a list; the constants it closes over become its first inputs.

    Unlike `jax.make_jaxpr` it keeps whole avals: shardings, varying axes, weak types, symbolic dimensions.
    """
    jaxpr, _, consts = partial_eval.trace_to_jaxpr_dynamic(wrapped(function), list(avals))
    return with_consts_as_inputs(jaxpr), list(consts)


def wrapped(function: Callable) -> Any:
    """Wraps a function the way JAX's tracers expect it."""
    info = core.DebugInfo("rnnjax.scan", getattr(function, "__name__", "loop"), None, None)
    return linear_util.wrap_init(function, debug_info=info)


def with_consts_as_inputs(closed: Any) -> Jaxpr:
    """Turns the constants of a jaxpr into its first inputs."""
    jaxpr = getattr(closed, "jaxpr", closed)
    return jaxpr.replace(constvars=(), invars=[*jaxpr.constvars, *jaxpr.invars])


def open_jaxpr(closed: Any) -> Jaxpr:
    """Unwraps a closed jaxpr that has no constants."""
    return getattr(closed, "jaxpr", closed)


def is_var(atom: Atom) -> bool:
    """Tells whether an atom is a var rather than a literal."""
    return not isinstance(atom, core.Literal)


def avals(atoms: Iterable[Atom]) -> list[Any]:
    """Returns the aval of each atom."""
    return [atom.aval for atom in atoms]


def variables(atoms: Iterable[Atom]) -> list[Var]:
    """Returns the vars among atoms, in order and without repetition."""
    return list(dict.fromkeys(atom for atom in atoms if is_var(atom)))


def inline(jaxpr: Jaxpr, calls: dict[str, str]) -> Jaxpr:
    """Replaces calls by the equations of their bodies and drops dead equations."""
    if not any(eqn.primitive.name in calls for eqn in jaxpr.eqns):
        return without_dead_equations(jaxpr)
    eqns: list[Eqn] = []
    atoms = _inline_into(eqns, jaxpr, {}, calls, core.gensym())
    return without_dead_equations(with_equations(jaxpr, eqns, atoms))


def with_equations(jaxpr: Jaxpr, eqns: list[Eqn], outvars: list[Atom]) -> Jaxpr:
    """Returns a jaxpr with the same inputs but other equations and outputs."""
    return jaxpr.replace(eqns=eqns, outvars=outvars, debug_info=_nameless(jaxpr))


def _nameless(jaxpr: Jaxpr) -> Any:
    return jaxpr.debug_info.with_unknown_names()


def _inline_into(eqns: list[Eqn], jaxpr: Jaxpr, env: dict[Var, Atom], calls: dict[str, str], new: Callable) -> list:
    """Appends the equations of a jaxpr, renaming the vars that are in env; returns its outputs."""

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
    """Evaluates a jaxpr without constants; `hook(eqn, values)` may return the outputs of an equation, or None."""
    env = dict(zip(jaxpr.invars, inputs, strict=True))
    run(jaxpr, jaxpr.eqns, env, hook)
    return [read(env, atom) for atom in jaxpr.outvars]


def read(env: dict, atom: Atom) -> Any:
    """Looks up the value of an atom: in env for a var, in the atom itself for a literal."""
    return env[atom] if is_var(atom) else atom.val


def run(jaxpr: Jaxpr, eqns: Iterable[Eqn], env: dict, hook: Hook = lambda eqn, values: None) -> None:
    """Evaluates equations in order, reading and writing values in env."""
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
    """Drops the equations that no output needs."""
    eqns = needed(jaxpr.eqns, jaxpr.outvars)
    return jaxpr if len(eqns) == len(jaxpr.eqns) else jaxpr.replace(eqns=eqns)


def needed(eqns: Sequence[Eqn], outputs: Iterable[Atom], given: Collection[Var] = ()) -> list[Eqn]:
    """Returns the equations, in order, that outputs depend on when the vars in `given` are known."""
    wanted, kept = set(variables(outputs)) - set(given), []
    for eqn in reversed(eqns):
        if any(var in wanted for var in eqn.outvars):
            kept.append(eqn)
            wanted.update(var for var in variables(eqn.invars) if var not in given)
    return kept[::-1]


def follows_from(eqn: Eqn, given: Collection[Var]) -> bool:
    """Tells whether an equation reads vars at all, and only vars that are given."""
    read = variables(eqn.invars)
    return bool(read) and all(var in given for var in read)


def chosen(mask: Iterable[bool], values: Iterable[Any]) -> list[Any]:
    """Selects the values whose mask is true."""
    return [value for value, is_chosen in zip(values, mask, strict=True) if is_chosen]


def reads(eqns: Iterable[Eqn], outputs: Iterable[Atom] = ()) -> set[Var]:
    """Returns the vars that equations and outputs read."""
    return set(variables(itertools.chain(outputs, *(eqn.invars for eqn in eqns))))


def makers(eqns: Iterable[Eqn]) -> dict[Var, Eqn]:
    """Maps each var to the equation that makes it."""
    return {var: eqn for eqn in eqns for var in eqn.outvars}


def readers(jaxpr: Jaxpr) -> dict[Var, list[Eqn | None]]:
    """Maps each var to the equations that read it, with None for an output; one entry per use."""
    found: dict[Var, list[Eqn | None]] = {}
    for eqn in [*jaxpr.eqns, None]:
        for atom in jaxpr.outvars if eqn is None else eqn.invars:
            if is_var(atom):
                found.setdefault(atom, []).append(eqn)
    return found


def size(atom: Atom) -> Any:
    """Returns the bytes of a value, symbolic if one of its dimensions is."""
    total = getattr(atom.aval.dtype, "itemsize", 8)
    for dimension in atom.aval.shape:
        total = total * dimension
    return total


def assumed_size(atom: Atom) -> int:
    """Returns the bytes of a value for comparisons: a symbolic dimension counts as 64."""
    total = getattr(atom.aval.dtype, "itemsize", 8)
    for dimension in atom.aval.shape:
        total *= dimension if isinstance(dimension, int) else 64
    return total


def is_float(atom: Atom) -> bool:
    """Tells whether a value can have a tangent."""
    return jax.numpy.issubdtype(atom.aval.dtype, jax.numpy.inexact)


def bytes_of(atoms: Iterable[Atom]) -> Any:
    """Adds up the bytes of values, counting each value once."""
    return sum(map(size, variables(atoms)))


def at_most(bytes_: Any, limit: Any) -> bool:
    """Tells whether bytes are within a limit; false if that depends on a symbolic dimension."""
    try:
        return bool(bytes_ <= limit)
    except core.InconclusiveDimensionOperation:
        return False
