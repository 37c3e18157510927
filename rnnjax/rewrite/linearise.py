"""A step of the loop and its linearisation: what of it has a tangent, and the linear body that moves it on."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax.rewrite import jaxprs, taps
from rnnjax.rewrite.jaxprs import Eqn, Jaxpr, Var, is_float


class Body:
    """A body with its inputs by kind: fixed, carry, xs, and what is computed for all steps."""

    def __init__(self, jaxpr: Jaxpr, n_fixed: int, n_carry: int, n_xs: int):
        self.jaxpr = jaxpr
        self.fixed, self.carry, self.xs, self.for_all = _split(jaxpr.invars, n_fixed, n_carry, n_xs)
        self.scanned = [*self.xs, *self.for_all]
        self.products = [eqn for eqn in jaxpr.eqns if eqn.primitive is taps.product_p]


class Live(NamedTuple):
    """What has a tangent in the loop."""

    inputs: list[Var]  # of the body
    outputs: list[bool]
    taps: list[int]
    weighed: list[Eqn]  # products whose weight has one


class Step:
    """A step that also returns the point where it was linearised, with its inputs and outputs by kind."""

    def __init__(self, jaxpr: Jaxpr, body: Body, live: Live):
        self.jaxpr = jaxpr
        n_fixed = len(jaxpr.invars) - len(body.carry) - len(body.scanned)  # constants and turned weights among them
        self.fixed, self.carry, self.xs, self.for_all = _split(jaxpr.invars, n_fixed, len(body.carry), len(body.xs))
        self.returned, self.ys, self.lhs, self.point = _split(
            jaxpr.outvars, len(body.carry), len(body.jaxpr.outvars) - len(body.carry), len(live.weighed)
        )


class Push:
    """The linear body, from the point and the tangents of live inputs and taps to those of live outputs."""

    def __init__(self, jaxpr: Jaxpr, n_point: int, live: Live):
        self.jaxpr = jaxpr
        self.point, inputs, of_taps = _split(jaxpr.invars, n_point, len(live.inputs))
        self.input_of = dict(zip(live.inputs, inputs, strict=True))
        self.tap_of = dict(zip(live.taps, of_taps, strict=True))
        self.reads = jaxprs.reads(jaxpr.eqns, jaxpr.outvars)


class Linearised(NamedTuple):
    """A step, and its linearisation at the point where it was."""

    step: Step
    fixed: dict[Var, Any]  # the values of what is fixed in the step
    push: Push


def reached(jaxpr: Jaxpr, live: Collection[Var], live_taps: Collection[int] | None = None) -> set[Var]:
    """The float vars whose tangents depend on those of live vars, and of live taps in the loop; None outside it."""
    live = set(live)
    for eqn in jaxpr.eqns:
        through = any(var in live for var in jaxprs.variables(eqn.invars))
        if eqn.primitive is taps.product_p:
            through = eqn.invars[1 - eqn.params["weight"]] in live
        if eqn.primitive is taps.routed_p:
            through = through and eqn.params["takes_tap"] and live_taps is None
        if live_taps is not None and eqn.params.get("takes_tap", False):
            through = through or eqn.params["tap"] in live_taps
        if through:
            live.update(var for var in eqn.outvars if is_float(var))
    return live


def live_outputs(jaxpr: Jaxpr, tangents: Sequence[Any]) -> list[bool]:
    """Which outputs of a jaxpr outside the loop have tangents, given those of the inputs, None for zero."""
    there = reached(jaxpr, [v for v, tangent in zip(jaxpr.invars, tangents, strict=True) if tangent is not None])
    return [jaxprs.is_var(atom) and atom in there for atom in jaxpr.outvars]


def find_live(body: Body, live: Collection[Var], outside_taps: Iterable[int]) -> Live:
    """What has a tangent, given the inputs that have: a carry that is reached has one from the next step on."""
    live = set(live)
    weighed = [eqn for eqn in body.products if eqn.invars[eqn.params["weight"]] in live]
    numbers = {*outside_taps, *(eqn.params["tap"] for eqn in weighed)}
    while True:
        there = reached(body.jaxpr, live, numbers)
        outputs = [jaxprs.is_var(atom) and atom in there for atom in body.jaxpr.outvars]
        grown = live | {var for var, is_live in zip(body.carry, outputs, strict=False) if is_live}
        if grown == live:
            break
        live = grown
    # A carry whose tangent is lost in the step, as behind stop_gradient, still has one of zeros afterwards.
    outputs = [is_live or (i < len(body.carry) and body.carry[i] in live) for i, is_live in enumerate(outputs)]
    taken = {eqn.params["tap"] for eqn in body.jaxpr.eqns if eqn.params.get("takes_tap", False)}
    inputs = [var for var in body.jaxpr.invars if var in live]
    return Live(inputs, outputs, sorted(numbers & taken), weighed)


def _turned_weight(eqn: Eqn, body: Body, fixed: Sequence[Any]) -> Any:
    """The transposed weight of a product, copied once before the loop, or None."""
    position = eqn.params["weight"]
    weight = eqn.invars[position]
    if weight not in body.fixed or not taps.is_matrix_product(eqn.params["eqn"], position):
        return None
    return jnp.swapaxes(fixed[body.fixed.index(weight)], 0, 1)


def linearise(body: Body, live: Live, fixed: Sequence[Any], init: Sequence[Any]) -> Linearised:
    """The body and its linear body, with taps where products and sums take them."""
    turned = [_turned_weight(eqn, body, fixed) for eqn in body.products]
    tap_avals = {
        eqn.params["tap"]: eqn.outvars[0].aval for eqn in body.jaxpr.eqns if eqn.params.get("takes_tap", False)
    }
    linear: dict[str, Any] = {}

    def step(fixed, turned, carry, scanned):
        env = dict(zip(body.jaxpr.invars, [*fixed, *carry, *scanned], strict=True))
        turned_of = {id(eqn): weight for eqn, weight in zip(body.products, turned, strict=True)}

        def of_live(values, tap_values):
            inner = {**env, **dict(zip(live.inputs, values, strict=True))}
            tap_of = dict(zip(live.taps, tap_values, strict=True))

            def hook(eqn, operands):
                if eqn.primitive is taps.product_p:
                    value = taps.linear_product(eqn, operands, turned_of[id(eqn)])
                elif eqn.primitive is taps.routed_p:
                    value = taps.cut(operands[0])
                else:
                    return None
                takes_tap = eqn.params["takes_tap"] and eqn.params["tap"] in tap_of
                return [taps.take_tap(value, tap_of[eqn.params["tap"]]) if takes_tap else value]

            jaxprs.run(body.jaxpr, body.jaxpr.eqns, inner, hook)
            outs = [jaxprs.read(inner, atom) for atom in body.jaxpr.outvars]
            lhs = [inner[eqn.invars[1 - eqn.params["weight"]]] for eqn in live.weighed]
            return [out for out, is_live in zip(outs, live.outputs, strict=True) if is_live], (outs, lhs)

        zeros = [jnp.zeros(tap_avals[number].shape, tap_avals[number].dtype) for number in live.taps]
        values = [env[var] for var in live.inputs]
        _, push, (outs, lhs) = jax.linearize(of_live, values, zeros, has_aux=True)
        linear["push"], point = jaxprs.trace(push, values, zeros)
        linear["point"] = len(point)
        return outs, lhs, point

    examples = [jax.tree.map(jax.typeof, leaves) for leaves in (list(fixed), list(turned), list(init))]
    jaxpr, consts = jaxprs.trace(step, *examples, jaxprs.avals(body.scanned))
    values = [*consts, *fixed, *(weight for weight in turned if weight is not None)]
    of_step = Step(taps.unmarked(jaxpr), body, live)
    push = Push(linear["push"], linear["point"], live)
    return Linearised(of_step, dict(zip(of_step.fixed, values, strict=True)), push)


def _split(values: Sequence[Any], *counts: int) -> list[list[Any]]:
    """values in parts of so many each, and what is left."""
    rest = iter(values)
    return [*(list(itertools.islice(rest, count)) for count in counts), list(rest)]
