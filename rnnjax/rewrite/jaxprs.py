"""Jaxprs of loop bodies: tracing, inlining, evaluating, and the level of every value."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import jax
from jax.extend import core

# The level of a value: what it depends on.
INVARIANT, INPUT, CARRY = range(3)

# Calls that only group equations.
_GROUPS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}

# Of jax.extend.core; its own annotations say too little of avals and params to check against.
Jaxpr = Any
Eqn = Any
Var = Any
Atom = Any  # a Var or a Literal

Hook = Callable[[Eqn, Sequence[Any]], Sequence[Any] | None]


def trace(function: Callable, *args: Any) -> tuple[Jaxpr, list[Any]]:
    """The jaxpr of `function(*args)`, calls inlined and dead equations gone, and the constants it closes over.

    Its inputs are the constants, then the args; it has no constants of its own.
    """
    closed = jax.make_jaxpr(function)(*args)
    consts = list(closed.consts)
    jaxpr = as_function_of_consts(closed)
    while any(eqn.primitive.name in _GROUPS for eqn in jaxpr.eqns):
        inlined = jax.make_jaxpr(lambda *inputs, j=jaxpr: evaluate(j, inputs, _inline))(*avals(jaxpr.invars))
        jaxpr, consts = as_function_of_consts(inlined), [*inlined.consts, *consts]
    return without_dead_equations(jaxpr), consts


def as_function_of_consts(closed: Any) -> Jaxpr:
    """The jaxpr of a closed jaxpr with its constants as first inputs."""
    jaxpr = closed.jaxpr
    return jaxpr.replace(constvars=(), invars=[*jaxpr.constvars, *jaxpr.invars])


def _inline(eqn: Eqn, values: Sequence[Any]) -> Sequence[Any] | None:
    if eqn.primitive.name not in _GROUPS:
        return None
    inner = eqn.params[_GROUPS[eqn.primitive.name]]
    return jax.core.eval_jaxpr(inner.jaxpr, inner.consts, *values)


def avals(atoms: Iterable[Atom]) -> list[jax.ShapeDtypeStruct]:
    """Shapes and dtypes of vars, to trace with."""
    return [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in atoms]


def is_var(atom: Atom) -> bool:
    """Whether an atom is a var, not a literal."""
    return not isinstance(atom, core.Literal)


def variables(atoms: Iterable[Atom]) -> list[Var]:
    """The vars among atoms, each once, in order."""
    return list(dict.fromkeys(atom for atom in atoms if is_var(atom)))


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
            single = jaxpr.replace(constvars=(), invars=used, outvars=eqn.outvars, eqns=[eqn])
            outs = jax.core.eval_jaxpr(single, (), *(env[var] for var in used))
        env.update(zip(eqn.outvars, outs, strict=True))


def without_dead_equations(jaxpr: Jaxpr) -> Jaxpr:
    """The jaxpr without equations that none of its outputs needs."""
    return jaxpr.replace(eqns=needed(jaxpr.eqns, jaxpr.outvars))


def needed(eqns: Sequence[Eqn], outputs: Iterable[Atom], given: Collection[Var] = ()) -> list[Eqn]:
    """The equations that outputs depend on, in order, where the values of `given` are there."""
    wanted, kept = set(variables(outputs)) - set(given), []
    for eqn in reversed(eqns):
        if any(var in wanted for var in eqn.outvars):
            kept.append(eqn)
            wanted.update(var for var in variables(eqn.invars) if var not in given)
    return kept[::-1]


def levels(jaxpr: Jaxpr, of_inputs: Sequence[int]) -> dict[Var, int]:
    """The level of every var, given those of the inputs."""
    level = dict(zip(jaxpr.invars, of_inputs, strict=True))
    for eqn in jaxpr.eqns:
        highest = max((level[var] for var in variables(eqn.invars)), default=INVARIANT)
        level.update(dict.fromkeys(eqn.outvars, highest))
    return level


def level_of(level: dict[Var, int], atom: Atom) -> int:
    """The level of an atom, given those of the vars: a literal is invariant."""
    return level[atom] if is_var(atom) else INVARIANT


def reads(eqns: Iterable[Eqn], outputs: Iterable[Atom] = ()) -> set[Var]:
    """The vars that equations and outputs read."""
    return set(variables([*(atom for eqn in eqns for atom in eqn.invars), *outputs]))


def uses(jaxpr: Jaxpr) -> dict[Var, list[Eqn | None]]:
    """The equations that read each var, None for an output; one entry a use."""
    readers: dict[Var, list[Eqn | None]] = {}
    for eqn in jaxpr.eqns:
        for atom in eqn.invars:
            if is_var(atom):
                readers.setdefault(atom, []).append(eqn)
    for atom in jaxpr.outvars:
        if is_var(atom):
            readers.setdefault(atom, []).append(None)
    return readers


def size(atom: Atom) -> int:
    """Bytes of a value."""
    return atom.aval.size * getattr(atom.aval.dtype, "itemsize", 8)


def is_float(atom: Atom) -> bool:
    """Whether a value can have a tangent."""
    return jax.numpy.issubdtype(atom.aval.dtype, jax.numpy.inexact)
