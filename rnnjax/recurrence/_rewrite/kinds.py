"""Kinds of primitives: the short lists of what may leave a loop and of what may be recomputed.

Whatever is on none of these lists stays in the loop and is computed once, the way `lax.scan` computes it.
"""

from collections.abc import Collection, Sequence

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Atom, Eqn, Jaxpr, Var, is_float, is_var

PRODUCTS = frozenset({"dot_general", "conv_general_dilated"})
LOOK_UPS = frozenset({"gather"})
SUMS = frozenset({"add", "add_any"})
VIEWS = frozenset(
    {"split", "slice", "reshape", "squeeze", "expand_dims", "transpose", "copy", "convert_element_type"},
)
# The same value for one step as for all at once.
ELEMENTWISE = SUMS | {"sub", "mul", "div", "neg", "max", "min", "sign", "abs", "select_n", "integer_pow", "square"}
ELEMENTWISE |= {"logistic", "tanh", "exp", "log", "sin", "cos", "sqrt", "rsqrt", "one_minus_square"}
# Linear in their only operand that varies: they commute with a sum over steps.
LINEAR = frozenset(
    {"transpose", "reshape", "squeeze", "expand_dims", "convert_element_type", "neg", "reduce_sum", "copy"},
) | {"broadcast_in_dim"}
COSTLY = PRODUCTS | {"random_bits", "threefry2x32", "sort", "scan", "while", "cond", "rnnjax_scan"}

INVARIANT, INPUT, CARRY = range(3)  # the level of a value: what it depends on


def weight_position(eqn: Eqn, level: dict[Var, int]) -> int | None:
    """Returns which operand of a product is invariant while the other varies; None if that is not the case."""
    if eqn.primitive.name not in PRODUCTS or not is_float(eqn.outvars[0]):
        return None
    fixed = [level_of(level, atom) == INVARIANT for atom in eqn.invars]
    if sum(fixed) != 1 or (eqn.primitive.name == "conv_general_dilated" and fixed[0]):
        return None
    position = fixed.index(True)
    return position if is_var(eqn.invars[position]) else None


def is_look_up(eqn: Eqn, level: dict[Var, int]) -> bool:
    """Tells whether an equation reads rows of an invariant table."""
    return eqn.primitive.name in LOOK_UPS and level_of(level, eqn.invars[0]) == INVARIANT


def level_of(level: dict[Var, int], atom: Atom) -> int:
    """Returns the level of an atom, given those of the vars; a literal is invariant."""
    return level[atom] if is_var(atom) else INVARIANT


def levels(jaxpr: Jaxpr, of_inputs: Sequence[int]) -> dict[Var, int]:
    """Returns the level of every var: the highest level among the inputs it depends on."""
    level = dict(zip(jaxpr.invars, of_inputs, strict=True))
    for eqn in jaxpr.eqns:
        highest = max((level[atom] for atom in eqn.invars if is_var(atom)), default=INVARIANT)
        level.update(dict.fromkeys(eqn.outvars, highest))
    return level


def worth_once(invariant: list[Eqn], inputs: Collection[Var], wanted: Collection[Var]) -> list[Eqn]:
    """Selects invariant equations to evaluate before a loop: those wanted, and those that do not outgrow their inputs.

    A broadcast stays in the loop, where it takes no memory.
    """
    weights = [atom for eqn in invariant if eqn.primitive.name in COSTLY for atom in eqn.outvars]
    chosen = {id(eqn) for eqn in jaxprs.needed(invariant, [*weights, *wanted])}
    made = {*inputs, *(var for eqn in invariant if id(eqn) in chosen for var in eqn.outvars)}
    for eqn in invariant:
        read = jaxprs.variables(eqn.invars)
        grows = not jaxprs.at_most(jaxprs.bytes_of(eqn.outvars), jaxprs.bytes_of(read))
        if not grows and all(var in made for var in read):
            chosen.add(id(eqn))
            made.update(eqn.outvars)
    return [eqn for eqn in invariant if id(eqn) in chosen]
