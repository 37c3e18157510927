"""Which products get the gradient of their weights after the loop, and which sums go with them.

A product is a dot_general or convolution of a value that varies with a weight that does not. Its tangent has two
parts, product(dlhs, w) and product(lhs, dw). The second, and that of whatever else is added to the product without
depending on the carry (the input's product, the bias), is computed for all steps at once, before the tangent loop,
and enters that loop as one array, the tap:

    z_t = h_{t-1} W + x_t U + b      dz_t = dh_{t-1} W + tap_t      tap_t = h_{t-1} dW + x_t dU + dx_t U + db

Transposed, the backward loop emits the cotangent of z once, and everything right of the tap is one product over all
steps after it. Two markers say so in the jaxpr: `product` stands for a product whose weight has no tangent in the
loop, `routed` for a value that has none; one of each group of them takes the tap in.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core

from rnnjax.rewrite import jaxprs
from rnnjax.rewrite.jaxprs import CARRY, INVARIANT, Eqn, Jaxpr, Var

PRODUCTS = ("dot_general", "conv_general_dilated")
SUMS = ("add", "add_any")

product_p = core.Primitive("rnnjax_product")
routed_p = core.Primitive("rnnjax_routed")


@product_p.def_abstract_eval
def _(*operands, out, **params):
    del operands, params
    return out


@routed_p.def_abstract_eval
def _(value, **params):
    del params
    return value


class Group(NamedTuple):
    """One sum of products and other addends, that takes one tap."""

    products: list[Eqn]  # of level CARRY
    addends: dict[Var, Eqn | None]  # routed values of a lower level -> the sum that reads them


def weight_position(eqn: Eqn, level: dict[Var, int]) -> int | None:
    """Which operand of a product is the weight, None if it is no product of a varying value with a weight."""
    if eqn.primitive.name not in PRODUCTS or not jaxprs.is_float(eqn.outvars[0]):
        return None
    fixed = [jaxprs.level_of(level, atom) == INVARIANT for atom in eqn.invars]
    if sum(fixed) != 1 or (eqn.primitive.name == "conv_general_dilated" and fixed[0]):
        return None
    position = fixed.index(True)
    return position if jaxprs.is_var(eqn.invars[position]) else None


def groups(jaxpr: Jaxpr, level: dict[Var, int], hoisted: set[Var]) -> list[Group]:
    """Every product that stays in the loop, in the group of the sum that it is part of."""
    uses = jaxprs.uses(jaxpr)
    products = {
        eqn.outvars[0]: eqn
        for eqn in jaxpr.eqns
        if weight_position(eqn, level) is not None and eqn.outvars[0] not in hoisted
    }
    grouped: set[Var] = set()
    found = []
    # Products of the carry come first: those of the inputs join their sums.
    for var, eqn in sorted(products.items(), key=lambda item: -level[item[0]]):
        if var in grouped:
            continue
        group = Group([eqn] if level[var] == CARRY else [], {})
        grouped.add(var)
        total = var
        while len(uses[total]) == 1:
            reader = uses[total][0]
            if reader is None or reader.primitive.name not in SUMS or level[reader.outvars[0]] != level[var]:
                break
            if reader.outvars[0].aval.shape != var.aval.shape:
                break
            for other in reader.invars if group.products else ():
                # Sums take scalars beside arrays; the tap is an array like the product.
                if other is total or not jaxprs.is_var(other) or other.aval.shape != var.aval.shape:
                    continue
                if level[other] < CARRY:
                    group.addends[other] = reader
                    grouped.add(other)
                elif other in products and len(uses[other]) == 1 and other not in grouped:
                    group.products.append(products[other])
                    grouped.add(other)
            total = reader.outvars[0]
        if not group.products:
            if total in grouped and total is not var:
                continue  # a sum of the carry takes it in
            group.addends[total] = None
        found.append(group)
    return found


def mark(jaxpr: Jaxpr, found: Sequence[Group], level: dict[Var, int]) -> Jaxpr:
    """The jaxpr with the markers of the groups; `tap` is the number of a group, `takes_tap` true once in each."""
    product_of = {
        id(eqn): (number, eqn is group.products[0]) for number, group in enumerate(found) for eqn in group.products
    }
    routed_in = {
        (id(reader), var): (number, not group.products)
        for number, group in enumerate(found)
        for var, reader in group.addends.items()
    }

    def function(*inputs):
        env = dict(zip(jaxpr.invars, inputs, strict=True))
        for eqn in jaxpr.eqns:
            if id(eqn) in product_of:
                tap, takes_tap = product_of[id(eqn)]
                values = [jaxprs.read(env, atom) for atom in eqn.invars]
                env[eqn.outvars[0]] = product_p.bind(
                    *values,
                    out=eqn.outvars[0].aval,
                    eqn=eqn,
                    weight=weight_position(eqn, level),
                    tap=tap,
                    takes_tap=takes_tap,
                )
                continue
            replaced = {var: env[var] for var in jaxprs.variables(eqn.invars) if (id(eqn), var) in routed_in}
            for var, value in replaced.items():
                tap, takes_tap = routed_in[id(eqn), var]
                env[var] = routed_p.bind(value, tap=tap, takes_tap=takes_tap)
            jaxprs.run(jaxpr, [eqn], env)
            env.update(replaced)
            for var in eqn.outvars:
                if (id(None), var) in routed_in:  # an input's product that no sum of the carry takes in
                    tap, takes_tap = routed_in[id(None), var]
                    env[var] = routed_p.bind(env[var], tap=tap, takes_tap=takes_tap)
        return [jaxprs.read(env, atom) for atom in jaxpr.outvars]

    return jax.make_jaxpr(function)(*jaxprs.avals(jaxpr.invars)).jaxpr


def without_markers(eqn: Eqn, values: Sequence[Any]) -> Sequence[Any] | None:
    """The hook that evaluates what the markers stand for."""
    if eqn.primitive is product_p:
        original = eqn.params["eqn"]
        return [original.primitive.bind(*values, **original.params)]
    if eqn.primitive is routed_p:
        return list(values)
    if eqn.primitive.name == "custom_jvp_call":  # of `linear_product` or `cut`, where there was no tangent
        inner = eqn.params["call_jaxpr"]
        if [inner_eqn.primitive for inner_eqn in inner.eqns] in ([product_p], [routed_p]):
            return jaxprs.evaluate(jaxprs.as_function_of_consts(inner), [*inner.consts, *values], without_markers)
    return None


def unmarked(jaxpr: Jaxpr) -> Jaxpr:
    """A jaxpr with what the markers stand for in their place."""

    def function(*inputs):
        return jaxprs.evaluate(jaxpr, inputs, without_markers)

    return jax.make_jaxpr(function)(*jaxprs.avals(jaxpr.invars)).jaxpr


# The next three give values their tangents while a body is linearised. What they leave in the jaxpr of the values are
# markers or nothing, so that a second derivative sees the plain body.


@jax.custom_jvp
def take_tap(value, tap):
    """value, with the tangent of tap added to its own."""
    del tap
    return value


@take_tap.defjvp
def _(primals, tangents):
    return primals[0], tangents[0] + tangents[1]


@jax.custom_jvp
def cut(value):
    """value, without a tangent."""
    return routed_p.bind(value)


@cut.defjvp
def _(primals, tangents):
    return routed_p.bind(*primals), jnp.zeros_like(tangents[0])


def is_matrix_product(eqn: Eqn, position: int) -> bool:
    """Whether a product is that of rows with a matrix: one axis contracted, no batch axes, a weight of two axes."""
    if eqn.primitive.name != "dot_general":
        return False
    contracting, batch = eqn.params["dimension_numbers"]
    return not batch[0] and len(contracting[0]) == 1 and eqn.invars[position].aval.ndim == 2


def linear_product(eqn: Eqn, values: Sequence[Any], transposed: Any) -> Any:
    """A marked product as a function of its varying operand, whose tangent reads the transposed weight if there is one.

    The transpose of `dot(dz, w_t)`, contracting over the second axis of w_t, is a product with w_t as it lies in
    memory; that of dot(dz, w) would turn w over at every step.
    """
    original, position = eqn.params["eqn"], eqn.params["weight"]
    params = original.params
    if transposed is not None:
        # So that transposing this product gives one with the transposed weight as it lies in memory.
        contracting, batch = params["dimension_numbers"]
        turned = [tuple(axes) for axes in contracting]
        turned[position] = (1 - turned[position][0],)
        params = {**params, "dimension_numbers": (tuple(turned), batch)}

    def bind(lhs, weight, params):
        operands = (lhs, weight) if position == 1 else (weight, lhs)
        return original.primitive.bind(*operands, **params)

    def marked(lhs, weight):
        operands = (lhs, weight) if position == 1 else (weight, lhs)
        return product_p.bind(*operands, **eqn.params)

    @jax.custom_jvp
    def product(lhs, weight, transposed):
        del transposed
        return marked(lhs, weight)

    @product.defjvp
    def _(primals, tangents):
        _, weight, transposed = primals
        return marked(primals[0], weight), bind(tangents[0], weight if transposed is None else transposed, params)

    return product(values[1 - position], values[position], transposed)


def bind_product(eqn: Eqn, position: int, lhs: Any, weight: Any) -> Any:
    """The product of an equation with other operands."""
    operands = (lhs, weight) if position == 1 else (weight, lhs)
    return eqn.primitive.bind(*operands, **eqn.params)


def product_of_all_steps(eqn: Eqn, position: int, lhs: Any, weight: Any) -> Any:
    """A product with a weight for all steps of lhs `[T, ...]` at once, `[T, ...]`."""
    if not is_matrix_product(eqn, position):
        return jax.vmap(lambda lhs: bind_product(eqn, position, lhs, weight))(lhs)
    # Rows of all steps as one matrix, so that the gradient of the weight is one plain matrix product.
    contracting, _ = eqn.params["dimension_numbers"]
    (axis,), (weight_axis,) = contracting[1 - position], contracting[position]
    rows = jnp.moveaxis(lhs, axis + 1, -1)
    params = {**eqn.params, "dimension_numbers": (((1,), (weight_axis,)), ((), ()))}
    out = eqn.primitive.bind(rows.reshape(-1, rows.shape[-1]), weight, **params)
    out = out.reshape(*rows.shape[:-1], out.shape[-1])
    return out if position == 1 else jnp.moveaxis(out, -1, 1)
