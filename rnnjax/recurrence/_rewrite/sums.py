"""Finds accumulators: carries of a loop that sum products, mostly gradients of weights."""

import itertools
from typing import Any, NamedTuple

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Atom, Eqn, Var
from rnnjax.recurrence._rewrite import at_once, kinds, targets
from rnnjax.recurrence._rewrite.kinds import INVARIANT
from rnnjax.recurrence._rewrite.loops import Loop
from rnnjax.recurrence._rewrite.targets import Target


class Addend(NamedTuple):
    """What an accumulator receives at each step: `chain`, linear equations, applied to `base`."""

    base: Var
    chain: list[Eqn]
    product: Eqn | None  # the equation that makes the base, if it is one that can be summed over all steps

    @property
    def operands(self) -> list[Var]:
        """Returns what must be available for all steps, or is invariant."""
        return jaxprs.variables(self.product.invars) if self.product else [self.base]

    @property
    def equations(self) -> list[Eqn]:
        """Returns what is evaluated after the loop."""
        return [self.product, *self.chain] if self.product else self.chain

    @property
    def value(self) -> Var:
        """Returns the atom that is added."""
        return self.chain[-1].outvars[0] if self.chain else self.base


class Sum(NamedTuple):
    """A carry that sums addends."""

    carry: int  # which
    after: list[Addend]  # those that are summed after the loop
    inside: list[Atom]  # the others

    def keep_inside(self, addend: Any) -> "Sum":
        """Keeps one of the addends of this sum in the loop."""
        after = [other for other in self.after if other is not addend]
        return self if len(after) == len(self.after) else Sum(self.carry, after, [*self.inside, addend.value])


def find_sums(loop: Loop, level: dict[Var, int], target: Target) -> list[Sum]:
    """Finds the accumulators of products and of what is stacked for them; on GPUs, where each takes a kernel, all."""
    readers, made_by = jaxprs.readers(loop.jaxpr), jaxprs.makers(loop.jaxpr.eqns)
    found = []
    for number in range(loop.n_carry):
        terms = _terms(loop, number, readers, made_by)
        addends = [_addend(atom, level, readers, made_by, target) for atom in terms]
        found.append((number, terms, addends))
    # What is summed without a product goes with the products, if they have it stacked up.
    there = {*loop.xs, *loop.ys}
    summed = {var for _, _, addends in found for a in addends if a is not None and a.product for var in a.operands}
    there |= summed
    if summed and target.is_gpu:
        there |= {a.base for _, _, addends in found for a in addends if a is not None}
    sums = []
    for number, terms, addends in found:
        goes = [a is not None and (a.product is not None or a.base in there) for a in addends]
        after = [a for a, leaves in zip(addends, goes, strict=True) if a is not None and leaves]
        inside = [atom for atom, leaves in zip(terms, goes, strict=True) if not leaves]
        if after:
            sums.append(Sum(number, after, inside))
    return sums


def _terms(loop: Loop, number: int, readers: dict, made_by: dict[Var, Eqn]) -> list[Atom]:
    """Returns what a carry sums, if it is used for nothing else; otherwise nothing."""
    var, out = loop.carry[number], loop.carry_out[number]
    if not jaxprs.is_float(var) or var is out:
        return []
    terms: list[Atom] = []
    while var is not out:
        reader = readers[var][0] if len(readers.get(var, [])) == 1 else None
        if reader is None or reader.primitive.name not in kinds.SUMS or reader.outvars[0].aval.shape != var.aval.shape:
            return []
        terms += [atom for atom in reader.invars if atom is not var]
        var = reader.outvars[0]
    if readers[out] != [None] or any(atom.aval.shape != out.aval.shape for atom in terms):
        return []
    return list(itertools.chain(*(_summands(atom, readers, made_by) for atom in terms)))


def _summands(atom: Atom, readers: dict, made_by: dict[Var, Eqn]) -> list[Atom]:
    """Returns the terms of a sum that is read once."""
    eqn = made_by.get(atom) if jaxprs.is_var(atom) else None
    if eqn is None or eqn.primitive.name not in kinds.SUMS or len(readers[atom]) > 1:
        return [atom]
    if any(operand.aval.shape != atom.aval.shape for operand in eqn.invars):
        return [atom]
    return [term for operand in eqn.invars for term in _summands(operand, readers, made_by)]


def _addend(atom: Atom, level: dict[Var, int], readers: dict, made_by: dict[Var, Eqn], target: Target) -> Addend | None:
    """Traces an addend back to what it is a linear function of; None if it is better added in the loop."""
    chain: list[Eqn] = []
    while jaxprs.is_var(atom) and level[atom] != INVARIANT:
        eqn = made_by.get(atom)
        once = len(readers[atom]) == 1
        if eqn is None or not once or eqn.primitive.name not in kinds.LINEAR or not jaxprs.is_float(eqn.invars[0]):
            product = eqn if once and eqn is not None and _is_summable(eqn, level, made_by) else None
            pays = product is None or targets.sum_pays(product, target)
            return Addend(atom, chain[::-1], product) if pays else None
        chain.append(eqn)
        (atom,) = eqn.invars
    return None


def _is_summable(eqn: Eqn, level: dict[Var, int], made_by: dict[Var, Eqn]) -> bool:
    varies = [kinds.level_of(level, operand) != INVARIANT for operand in eqn.invars]
    if eqn.primitive.name == "scatter-add":
        table: Any = made_by.get(eqn.invars[0]) if jaxprs.is_var(eqn.invars[0]) else None
        of_literal = table is not None and table.primitive.name == "broadcast_in_dim" and not table.invars[1:]
        fill: Any = table.invars[0] if of_literal else None
        return of_literal and not jaxprs.is_var(fill) and fill.val == 0 and varies == [False, True, True]
    return at_once.can_sum(eqn) and all(varies)
