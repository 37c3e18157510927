"""What leaves the loop: invariant work, and products of the inputs for all steps at once.

Invariant equations are evaluated once, before the loop, unless they only blow memory up (a broadcast). Of those of
the inputs, only products and look-ups leave, with what they need: an elementwise function of x is as cheap in the
loop, where nothing has to be stored. Slices of a sum of such a product, as the gates of a cell take them, become
sums of slices, so that each gate has an array of its own and the loop slices nothing.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax import lax

from rnnjax.rewrite import jaxprs, taps
from rnnjax.rewrite.jaxprs import INPUT, INVARIANT, Eqn, Jaxpr, Var

SLICES = ("split", "slice")
VIEWS = (*SLICES, "reshape", "squeeze", "transpose", "rnnjax_routed", "copy", "convert_element_type")

ELEMENTWISE = (*taps.SUMS, "sub", "mul", "div", "neg", "max", "min", "logistic", "tanh", "exp", "erf", "square")

COSTLY = (*taps.PRODUCTS, "random_bits", "threefry2x32", "sort", "scan", "while", "cond")  # to compute at each step

# On CPUs, a product in the loop runs on one core if it has few columns or little to do, and is then better done for
# all steps at once; unless the outcome for all steps is so large that fresh memory for it costs more than that.
CPU_FEW_COLUMNS = 1024
CPU_SMALL_PRODUCT = 4_000_000  # multiply-adds a step
CPU_LARGE_RESULT = 32 * 2**20  # bytes for all steps


def hoisted_products(jaxpr: Jaxpr, level: dict[Var, int], length: int) -> set[Var]:
    """The outputs of products and look-ups of the inputs that leave the loop."""
    uses = jaxprs.uses(jaxpr)

    def goes_on(var: Var) -> bool:
        """Whether the loop can read a product bit by bit: elementwise, by slices, or not at all."""
        readers = [eqn for eqn in uses.get(var, []) if eqn is not None and level[eqn.outvars[0]] == INPUT]
        return all(
            eqn.primitive.name in (*taps.PRODUCTS, "gather")
            or (eqn.primitive.name in (*ELEMENTWISE, *VIEWS) and all(map(goes_on, eqn.outvars)))
            for eqn in readers
        )

    return {
        eqn.outvars[0]
        for eqn in jaxpr.eqns
        if level[eqn.outvars[0]] == INPUT
        and (
            (taps.weight_position(eqn, level) is not None and pays(eqn, length) and goes_on(eqn.outvars[0]))
            or (eqn.primitive.name == "gather" and jaxprs.level_of(level, eqn.invars[0]) == INVARIANT)
        )
    }


def pays(eqn: Eqn, length: int) -> bool:
    """Whether a product of the inputs is faster for all steps at once."""
    if jax.default_backend() != "cpu" or eqn.primitive.name != "dot_general":
        return True
    (contracting, _), _ = eqn.params["dimension_numbers"]
    terms = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracting)
    out = eqn.outvars[0].aval
    few_columns = not out.shape or out.shape[-1] < CPU_FEW_COLUMNS
    small = few_columns or out.size * terms <= CPU_SMALL_PRODUCT
    return small and length * jaxprs.size(eqn.outvars[0]) <= CPU_LARGE_RESULT


def slice_early(jaxpr: Jaxpr, of_inputs: Sequence[int], length: int) -> Jaxpr:
    """The jaxpr in which slices of what is made of a hoisted product are made of slices of the product."""
    while True:
        level = jaxprs.levels(jaxpr, of_inputs)
        sliced, moved = _slices_moved_up(jaxpr, level, hoisted_products(jaxpr, level, length))
        if not moved:
            return jaxpr
        jaxpr = sliced


def _slices_moved_up(jaxpr: Jaxpr, level: dict[Var, int], hoisted: set[Var]) -> tuple[Jaxpr, int]:
    """The jaxpr with every slice moved up once to the products, and how many were."""
    made_by = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
    uses = jaxprs.uses(jaxpr)
    holding: set[Var] = set()  # what is made of a hoisted product elementwise, and read by nothing but slices

    def only_sliced(var: Var) -> bool:
        return all(eqn is not None and eqn.primitive.name in SLICES for eqn in uses.get(var, ()))

    for eqn in jaxpr.eqns:
        passes = (
            eqn.primitive.name in taps.SUMS
            or (eqn.primitive.name in ELEMENTWISE and only_sliced(eqn.outvars[0]))
            or (eqn.primitive is taps.routed_p and not eqn.params["takes_tap"])
        )
        if eqn.outvars[0] in hoisted or (passes and any(var in holding for var in jaxprs.variables(eqn.invars))):
            holding.add(eqn.outvars[0])

    moved = 0

    def function(*inputs):
        env = dict(zip(jaxpr.invars, inputs, strict=True))
        done: dict[Any, list[Any]] = {}

        def slices_of(value: Any, cut: Eqn, params: dict | None = None) -> list[Any]:
            outs = cut.primitive.bind(value, **(params or cut.params))
            return list(outs) if cut.primitive.multiple_results else [outs]

        def slices(var: Var, cut: Eqn) -> list[Any]:
            """What the slicing equation `cut` makes of a value."""
            key = (var, cut.primitive.name, str(cut.params))
            if key not in done:
                done[key] = slices_of(env[var], cut) if var not in holding else slices_above(var, made_by[var], cut)
            return done[key]

        def slices_above(var: Var, eqn: Eqn, cut: Eqn) -> list[Any]:
            nonlocal moved
            if var in hoisted:
                found = _slices_of_weight(eqn, level, cut)
                if found is None:
                    return slices_of(env[var], cut)
                position, params = found
                lhs, weight = (jaxprs.read(env, eqn.invars[i]) for i in (1 - position, position))
                moved += 1
                return [taps.bind_product(eqn, position, lhs, piece) for piece in slices_of(weight, cut, params)]
            moved += 1
            operands: list[Any] = []
            for atom in eqn.invars:
                value = jaxprs.read(env, atom)
                if jaxprs.is_var(atom) and atom.aval.shape == var.aval.shape:
                    operands.append(slices(atom, cut))
                elif atom.aval.shape == ():
                    operands.append(itertools.repeat(value))
                else:  # one row for all, say
                    wide = lax.broadcast_in_dim(value, var.aval.shape, range(var.aval.ndim))
                    operands.append(slices_of(wide, cut))
            pieces = zip(*operands, strict=False) if len(operands) > 1 else ((piece,) for piece in operands[0])
            return [eqn.primitive.bind(*values, **eqn.params) for values in pieces]

        def hook(eqn, values):
            del values
            if eqn.primitive.name in SLICES and eqn.invars[0] in holding:
                return slices(eqn.invars[0], eqn)
            return None

        jaxprs.run(jaxpr, jaxpr.eqns, env, hook)
        return [jaxprs.read(env, atom) for atom in jaxpr.outvars]

    sliced = jax.make_jaxpr(function)(*jaxprs.avals(jaxpr.invars)).jaxpr
    return jaxprs.without_dead_equations(sliced), moved


def _slices_of_weight(eqn: Eqn, level: dict[Var, int], cut: Eqn) -> tuple[int, dict] | None:
    """Which operand of a matrix product is the weight, and how to slice it as `cut` slices the product."""
    position = taps.weight_position(eqn, level)
    if position is None or not taps.is_matrix_product(eqn, position):
        return None
    (weight_axis,) = eqn.params["dimension_numbers"][0][position]
    free = 1 - weight_axis
    weight, out = eqn.invars[position].aval, eqn.outvars[0].aval
    axis = out.ndim - 1 if position == 1 else 0  # of the outputs, where the free axis of the weight goes
    if cut.primitive.name == "split":
        return (position, {**cut.params, "axis": free}) if cut.params["axis"] == axis else None
    starts, limits, strides = (cut.params[name] for name in ("start_indices", "limit_indices", "strides"))
    if strides is not None or any(
        (start, limit) != (0, length)
        for i, (start, limit, length) in enumerate(zip(starts, limits, out.shape, strict=True))
        if i != axis
    ):
        return None
    ends = [(0, length) for length in weight.shape]
    ends[free] = (starts[axis], limits[axis])
    starts, limits = zip(*ends, strict=True)
    return position, {**cut.params, "start_indices": starts, "limit_indices": limits}


class Parts(NamedTuple):
    """A body taken apart: what runs before the loop, and what stays in it."""

    before: Jaxpr  # (invariants) -> values that the loop, and `for_all`, need
    for_all: Jaxpr  # (invariants, before, x) -> values that the loop needs, evaluated for all steps at once
    body: Jaxpr  # (invariants, before, carry, x, for_all) -> (carry, y)


def take_apart(jaxpr: Jaxpr, of_inputs: list[int], length: int) -> Parts:
    """Splits a body with inputs (invariants, carry, x) at the levels of its equations."""
    level = jaxprs.levels(jaxpr, of_inputs)
    invariants, xs, carry = ([var for var in jaxpr.invars if level[var] == which] for which in range(3))
    hoisted = hoisted_products(jaxpr, level, length)
    for eqn in jaxpr.eqns:  # what only looks at a hoisted product goes with it
        follows = eqn.primitive.name in VIEWS and level[eqn.outvars[0]] == INPUT and eqn.invars[0] in hoisted
        if follows and not eqn.params.get("takes_tap", False):
            hoisted.update(eqn.outvars)

    before = _invariant_equations(jaxpr, level)
    in_loop = _except(jaxpr.eqns, before)
    body = jaxprs.needed([eqn for eqn in in_loop if eqn.outvars[0] not in hoisted], jaxpr.outvars)
    body_reads = jaxprs.reads(body, jaxpr.outvars)
    for_all_out = [var for eqn in in_loop for var in eqn.outvars if var in hoisted and var in body_reads]
    for_all = jaxprs.needed(in_loop, for_all_out)
    read = body_reads | jaxprs.reads(for_all)
    before_out = [var for eqn in before for var in eqn.outvars if var in read]
    return Parts(
        jaxpr.replace(invars=invariants, outvars=before_out, eqns=jaxprs.needed(before, before_out)),
        jaxpr.replace(invars=[*invariants, *before_out, *xs], outvars=for_all_out, eqns=for_all),
        jaxpr.replace(invars=[*invariants, *before_out, *carry, *xs, *for_all_out], eqns=body),
    )


def _except(eqns: list[Eqn], taken: list[Eqn]) -> list[Eqn]:
    ids = {id(eqn) for eqn in taken}
    return [eqn for eqn in eqns if id(eqn) not in ids]


def _invariant_equations(jaxpr: Jaxpr, level: dict[Var, int]) -> list[Eqn]:
    """Invariant equations that are worth their memory: all but those whose outputs outgrow what they read."""
    invariant = [eqn for eqn in jaxpr.eqns if all(level[var] == INVARIANT for var in eqn.outvars)]
    weights = [eqn.invars[eqn.params["weight"]] for eqn in jaxpr.eqns if eqn.primitive is taps.product_p]
    costly = [var for eqn in invariant if eqn.primitive.name in COSTLY for var in eqn.outvars]
    chosen = {id(eqn) for eqn in jaxprs.needed(invariant, [*weights, *costly])}
    made = {var for eqn in invariant if id(eqn) in chosen for var in eqn.outvars} | set(jaxpr.invars)
    for eqn in invariant:
        read = jaxprs.variables(eqn.invars)
        grows = sum(map(jaxprs.size, eqn.outvars)) > sum(map(jaxprs.size, read))
        if not grows and all(var in made for var in read):
            chosen.add(id(eqn))
            made.update(eqn.outvars)
    return [eqn for eqn in invariant if id(eqn) in chosen]


def for_all_steps(jaxpr: Jaxpr, invariants: Sequence[Any], xs: Sequence[Any]) -> list[Any]:
    """The outputs of a jaxpr with inputs (invariants, x) for all steps at once; those that vary are `[T, ...]`."""
    env = dict(zip(jaxpr.invars, [*invariants, *xs], strict=True))
    varying = set(jaxpr.invars[len(invariants) :])
    for eqn in jaxpr.eqns:
        varies = [jaxprs.is_var(atom) and atom in varying for atom in eqn.invars]
        if not any(varies):
            jaxprs.run(jaxpr, [eqn], env, taps.without_markers)
            continue
        values = [jaxprs.read(env, atom) for atom in eqn.invars]
        if eqn.primitive.name in taps.PRODUCTS and sum(varies) == 1:
            lhs = varies.index(True)
            outs = [taps.product_of_all_steps(eqn, 1 - lhs, values[lhs], values[1 - lhs])]
        else:

            def one(*values, eqn=eqn):
                inner = {var: value for var, value in zip(eqn.invars, values, strict=True) if jaxprs.is_var(var)}
                jaxprs.run(jaxpr, [eqn], inner, taps.without_markers)
                return [inner[var] for var in eqn.outvars]

            outs = jax.vmap(one, in_axes=[0 if v else None for v in varies])(*values)
        env.update(zip(eqn.outvars, outs, strict=True))
        varying.update(eqn.outvars)
    return [jaxprs.read(env, atom) for atom in jaxpr.outvars]
