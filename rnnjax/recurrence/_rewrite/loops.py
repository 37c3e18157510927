"""The primitive that stands for a loop until it is lowered, and how loops are read and made."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.extend import core
from jax.extend.core.primitives import scan_p

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Eqn, Jaxpr, Var
from rnnjax.recurrence._rewrite import kinds
from rnnjax.recurrence._rewrite.kinds import CARRY, INPUT, INVARIANT

# A loop that is worth rewriting is bound as this primitive instead of lax.scan's, with the same parameters.
loop_p = core.Primitive("rnnjax_scan")
loop_p.multiple_results = True


class Loop(NamedTuple):
    """The parameters of a scan under names of our own."""

    jaxpr: Jaxpr  # (consts, carry, x) -> (carry, y)
    n_consts: int
    n_carry: int
    length: Any  # T, an int or a symbolic dimension
    reverse: bool
    unroll: int

    @property
    def consts(self) -> list[Var]:
        return self.jaxpr.invars[: self.n_consts]

    @property
    def carry(self) -> list[Var]:
        return self.jaxpr.invars[self.n_consts : self.n_consts + self.n_carry]

    @property
    def xs(self) -> list[Var]:
        return self.jaxpr.invars[self.n_consts + self.n_carry :]

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Returns the slices of consts, carry and xs among the inputs."""
        first_x = self.n_consts + self.n_carry
        return slice(self.n_consts), slice(self.n_consts, first_x), slice(first_x, None)

    @property
    def carry_out(self) -> list[Any]:
        return self.jaxpr.outvars[: self.n_carry]

    @property
    def ys(self) -> list[Any]:
        return self.jaxpr.outvars[self.n_carry :]


def levels(loop: Loop) -> dict[Var, int]:
    """Returns the level of every var of a loop."""
    of_inputs = [INVARIANT] * loop.n_consts + [CARRY] * loop.n_carry + [INPUT] * len(loop.xs)
    return kinds.levels(loop.jaxpr, of_inputs)


def invariant_equations(loop: Loop) -> list[Eqn]:
    """Returns the equations of a loop that give the same values at every step."""
    level = levels(loop)
    return [eqn for eqn in loop.jaxpr.eqns if all(level[var] == INVARIANT for var in eqn.outvars)]


def read_loop(params: dict[str, Any]) -> Loop:
    """Reads the loop that the parameters of an equation describe."""
    if "ft_in" in params:  # jax 0.11 and later
        n_consts, n_carry, _ = (len(part) for part in params["ft_in"].unpack())
    else:
        n_consts, n_carry = params["num_consts"], params["num_carry"]
    jaxpr = jaxprs.open_jaxpr(params["jaxpr"])
    return Loop(jaxpr, n_consts, n_carry, params["length"], params["reverse"], params["unroll"])


def is_scan(eqn: Eqn) -> bool:
    """Tells whether an equation is a plain scan."""
    return eqn.primitive is scan_p


def plain_scan(step: Callable, carry: Any, xs: Any, loop: Loop, length: Any = None) -> tuple[Any, Any]:
    """Runs `lax.scan(step, carry, xs)` with the direction, the unrolling and, unless given, the length of a loop."""
    options: dict[str, Any] = {"reverse": loop.reverse, "unroll": loop.unroll}
    length = loop.length if length is None else length
    if isinstance(length, int):
        return lax.scan(step, carry, xs, length=length, **options)
    # lax.scan reads a symbolic length from xs alone.
    return lax.scan(lambda carry, x: step(carry, x[0]), carry, (xs, lax.broadcast(0, (length,))), **options)


def bind_loops(jaxpr: Jaxpr, values: Sequence[Any]) -> list[Any]:
    """Evaluates a jaxpr, binding its scans as our primitive, except for scans inside other equations."""

    def hook(eqn, operands):
        return loop_p.bind(*operands, **eqn.params) if is_scan(eqn) else None

    return jaxprs.evaluate(jaxpr, values, hook)


def as_loops(function: Callable, *args: Any) -> list[Any]:
    """Evaluates `function(*args)`, a list, binding its scans as our primitive; args are pytrees."""
    leaves, tree = jax.tree.flatten(args)
    jaxpr, consts = jaxprs.trace(
        lambda *leaves: function(*jax.tree.unflatten(tree, leaves)), list(map(jax.typeof, leaves))
    )
    return bind_loops(jaxpr, [*consts, *leaves])
