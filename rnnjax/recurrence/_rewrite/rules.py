"""Transforms a loop the way JAX transforms a scan; the outcome is such a loop again.

So nothing is decided before platform, number of devices and sizes under vmap are known; only the lowering rule
rewrites. One rule does more than JAX's: split.py chooses what a forward loop keeps for its derivative.
"""

import functools
import operator

import jax
from jax._src import checkify
from jax._src.interpreters.ad import backward_pass
from jax.extend.core.primitives import scan_p
from jax.interpreters import ad, batching, partial_eval

from rnnjax._jaxprs import chosen, config
from rnnjax.recurrence._rewrite import split
from rnnjax.recurrence._rewrite.loops import as_loops, is_scan, loop_p, plain_scan, read_loop


@loop_p.def_impl
def _run(*args, **params):
    debugs = config.jax_debug_nans or config.jax_debug_infs
    if debugs:  # JAX runs a program again, piece by piece, to find what is not finite
        return scan_p.bind(*args, **params)
    return _compiled(**params)(*args)


@functools.lru_cache(maxsize=1024)
def _compiled(**params):
    return jax.jit(functools.partial(loop_p.bind, **params))


@loop_p.def_abstract_eval
def _abstract_eval(*avals, **params):
    return scan_p.abstract_eval(*avals, **params)[0]


def _jvp(primals, tangents, **params):
    live = [type(tangent) is not ad.Zero for tangent in tangents]
    zeros: list = []

    def function(primals, live_tangents):
        filled = _filled(live, live_tangents, [t for t in tangents if type(t) is ad.Zero])
        outs, d_outs = ad.primitive_jvps[scan_p](primals, filled, **params)
        zeros[:] = [tangent if type(tangent) is ad.Zero else None for tangent in d_outs]
        return [*outs, *(tangent for tangent in d_outs if type(tangent) is not ad.Zero)]

    outs = as_loops(function, list(primals), chosen(live, tangents))
    d_outs = iter(outs[len(zeros) :])
    return outs[: len(zeros)], [next(d_outs) if zero is None else zero for zero in zeros]


def _batch(axis_data, args, dims, **params):
    dims_out: list = []

    def function(args):
        outs, dims_out[:] = batching.fancy_primitive_batchers[scan_p](axis_data, args, list(dims), **params)
        return outs

    return as_loops(function, list(args)), dims_out


def _transpose(cotangents, *args, **params):
    """Transposes a linear loop: a loop in the other direction, whose carry sums the cotangents of consts."""
    loop = read_loop(params)
    linear = [ad.is_undefined_primal(arg) for arg in args]
    in_consts, in_xs = linear[: loop.n_consts], linear[loop.n_consts + loop.n_carry :]
    of_carry, of_ys = cotangents[: loop.n_carry], cotangents[loop.n_carry :]
    live_ys = [type(cotangent) is not ad.Zero for cotangent in of_ys]

    def step(known_consts, sums_and_carry, now):
        (sums, d_carry), (d_ys, known_xs) = sums_and_carry, now
        d_outs = [*d_carry, *_filled(live_ys, d_ys, [_zero(atom) for atom in loop.ys])]
        consts = _filled(in_consts, map(_undefined, chosen(in_consts, loop.consts)), known_consts)
        xs = _filled(in_xs, map(_undefined, chosen(in_xs, loop.xs)), known_xs)
        primals = [*consts, *map(_undefined, loop.carry), *xs]
        found = list(map(ad.instantiate_zeros, backward_pass(loop.jaxpr, False, (), primals, d_outs)))
        d_consts, d_carry, d_xs = (found[part] for part in loop.parts)
        sums = list(map(ad.add_jaxvals, sums, chosen(in_consts, d_consts)))
        return (sums, d_carry), chosen(in_xs, d_xs)

    def function(known_consts, d_carry, d_ys, known_xs):
        zeros = [ad.instantiate_zeros(_zero(var)) for var in chosen(in_consts, loop.consts)]
        back = loop._replace(reverse=not loop.reverse)
        of_step = functools.partial(step, known_consts)
        (sums, d_carry), d_xs = plain_scan(of_step, (zeros, d_carry), (d_ys, known_xs), back)
        return [*sums, *d_carry, *d_xs]

    consts, _, xs = (args[part] for part in loop.parts)
    outs = as_loops(
        function,
        chosen(map(operator.not_, in_consts), consts),
        list(map(ad.instantiate_zeros, of_carry)),
        chosen(live_ys, of_ys),
        chosen(map(operator.not_, in_xs), xs),
    )
    everywhere = [*in_consts, *[True] * loop.n_carry, *in_xs]
    found = _filled(everywhere, outs, [None] * everywhere.count(False))
    return [cotangent if is_linear else None for cotangent, is_linear in zip(found, linear, strict=True)]


def _undefined(var):
    return ad.UndefinedPrimal(var.aval)


def _zero(atom):
    """Makes the symbolic zero for the cotangents of an atom."""
    aval = atom.aval
    return ad.Zero(aval.to_ct_aval() if hasattr(aval, "to_ct_aval") else aval.to_tangent_aval())


def _filled(chosen, values, others):
    """Merges `values`, where `chosen` is true, and `others` into one list."""
    values, others = iter(values), iter(others)
    return [next(values) if is_chosen else next(others) for is_chosen in chosen]


def _partial_eval_of_equation(saveable, unknown, instantiated, eqn):
    """Evaluates a loop partially under `jax.checkpoint` and inside other loops."""
    rule = partial_eval.partial_eval_jaxpr_custom_rules[scan_p]
    known, *others = rule(saveable, unknown, instantiated, eqn)
    if known is not None and "call_jaxpr" in known.params:  # the scan, with invariant work before it
        known = known.replace(params={**known.params, "call_jaxpr": _rebound(known.params["call_jaxpr"])})
    return known, *others


def _rebound(closed):
    """Replaces the scans of a jaxpr by our primitive."""
    eqns = [eqn.replace(primitive=loop_p) if is_scan(eqn) else eqn for eqn in closed.eqns]
    if hasattr(closed, "jaxpr") and closed.jaxpr is not closed:
        return closed.replace(jaxpr=closed.jaxpr.replace(eqns=eqns))
    return closed.replace(eqns=eqns)


ad.primitive_jvps[loop_p] = _jvp
ad.primitive_transposes[loop_p] = _transpose
batching.fancy_primitive_batchers[loop_p] = _batch
partial_eval.custom_partial_eval_rules[loop_p] = split.partial_eval
partial_eval.partial_eval_jaxpr_custom_rules[loop_p] = _partial_eval_of_equation
partial_eval.dce_rules[loop_p] = partial_eval.dce_rules[scan_p]
checkify.error_checks[loop_p] = checkify.error_checks[scan_p]
