"""Lays weights out as a CPU reads them best: sliced by gate and transposed before the loop.

The gates of a cell are slices of a sum of products. On a CPU, a loop over time that reads four slices of a row of the
product for all steps is several times as slow as one that reads four arrays. So slices of what is made from such a
product, mostly sums, become sums of slices, with one product per slice of the weight. And a product that contracts over
the last axis of its weight, as backpropagation through a layer does, would transpose the weight at every step.
"""

from typing import Any

import jax.numpy as jnp
from jax.extend import core

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Atom, Eqn, Jaxpr, Var
from rnnjax.recurrence._rewrite import at_once, kinds

SLICES = ("split", "slice")


def move_slices_up(jaxpr: Jaxpr, products: list[Eqn], level: dict[Var, int]) -> Jaxpr:
    """Moves slices of what is made from `products` up to slices of their weights, where there are any."""
    mover = _Mover(jaxpr, products, level)
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in SLICES and jaxprs.follows_from(eqn, mover.holding):
            mover.atoms.update(zip(eqn.outvars, mover.slices(eqn.invars[0], eqn), strict=True))
        else:
            mover.emit(eqn, [mover.renamed(atom) for atom in eqn.invars], eqn.outvars)
    if not mover.moved:
        return jaxpr
    outs = [mover.renamed(atom) for atom in jaxpr.outvars]
    return jaxprs.without_dead_equations(jaxprs.with_equations(jaxpr, mover.eqns, outs))


def turn_weights(jaxpr: Jaxpr, level: dict[Var, int]) -> Jaxpr:
    """Makes products of the carry with a matrix contract over the first axis of the matrix."""
    new, eqns, turned = core.gensym(), [], {}
    for eqn in jaxpr.eqns:
        position = kinds.weight_position(eqn, level) if level[eqn.outvars[0]] == kinds.CARRY else None
        if position != 1 or not at_once.is_matrix_product(eqn, 1) or eqn.params["dimension_numbers"][0][1] != (1,):
            eqns.append(eqn)
            continue
        lhs, weight = eqn.invars
        if weight not in turned:
            turned[weight] = new(weight.aval.update(shape=weight.aval.shape[::-1]))
            eqns.append(_transpose(jaxpr, eqn, weight, turned[weight]))
        (axes, _), batch = eqn.params["dimension_numbers"]
        params = {**eqn.params, "dimension_numbers": ((axes, (0,)), batch)}
        eqns.append(eqn.replace(invars=[lhs, turned[weight]], params=params))
    return jaxprs.with_equations(jaxpr, eqns, jaxpr.outvars) if turned else jaxpr


def _transpose(jaxpr: Jaxpr, like: Eqn, matrix: Var, out: Var) -> Eqn:
    """Makes the equation that transposes a matrix."""
    traced, _ = jaxprs.trace(lambda value: [value.T], [matrix.aval])
    (eqn,) = traced.eqns
    return eqn.replace(invars=[matrix], outvars=[out], source_info=like.source_info)


class _Mover:
    """A jaxpr while it is being rewritten."""

    def __init__(self, jaxpr: Jaxpr, products: list[Eqn], level: dict[Var, int]):
        self.level, self.products = level, {eqn.outvars[0] for eqn in products}
        self.made_by, self.new = jaxprs.makers(jaxpr.eqns), core.gensym()
        self.eqns: list[Eqn] = []
        self.atoms: dict[Var, Atom] = {}
        self.moved = 0
        self.done: dict[Any, list[Atom]] = {}
        readers = jaxprs.readers(jaxpr)
        # What is made of the products, elementwise, and read by nothing but slices.
        self.holding: set[Var] = set()
        for eqn in jaxpr.eqns:
            out = eqn.outvars[0]
            only_sliced = all(r is not None and r.primitive.name in SLICES for r in readers.get(out, ()))
            passes = eqn.primitive.name in kinds.SUMS or (eqn.primitive.name in kinds.ELEMENTWISE and only_sliced)
            held = [var for var in jaxprs.variables(eqn.invars) if var in self.holding]
            if out in self.products or (passes and held and all(var.aval.shape == out.aval.shape for var in held)):
                self.holding.add(out)

    def renamed(self, atom: Atom) -> Atom:
        return self.atoms.get(atom, atom) if jaxprs.is_var(atom) else atom

    def emit(self, eqn: Eqn, operands: list[Atom], outs: list[Var], params: dict | None = None) -> list[Var]:
        self.eqns.append(eqn.replace(invars=operands, outvars=outs, params=eqn.params if params is None else params))
        return outs

    def cut_here(self, atom: Atom, cut: Eqn) -> list[Var]:
        dtype = atom.aval.dtype
        outs = [self.new(var.aval.update(dtype=dtype)) for var in cut.outvars]
        return self.emit(cut, [self.renamed(atom)], outs)

    def wide(self, atom: Atom, shape: tuple[int, ...]) -> Atom:
        """Broadcasts an atom to the shape of what it is added to."""
        if atom.aval.shape == shape:
            return atom
        traced, _ = jaxprs.trace(lambda value: [jnp.broadcast_to(value, shape)], [atom.aval])
        (eqn,) = jaxprs.inline(traced, jaxprs.CALLS).eqns
        return self.emit(eqn, [self.renamed(atom)], [self.new(eqn.outvars[0].aval)])[0]

    def slices(self, atom: Atom, cut: Eqn) -> list[Atom]:
        """Returns what the slicing equation `cut` makes of an atom."""
        key = (atom if jaxprs.is_var(atom) else id(atom), cut.primitive.name, str(cut.params))
        if key not in self.done:
            self.done[key] = self._slices(atom, cut)
        return self.done[key]

    def _slices(self, atom: Atom, cut: Eqn) -> list[Atom]:
        if not jaxprs.is_var(atom) or atom not in self.holding:
            return self.cut_here(atom, cut)
        eqn = self.made_by[atom]
        if atom in self.products:
            return self._products(eqn, cut) or self.cut_here(atom, cut)
        self.moved += 1
        cuts = [
            [self.renamed(operand)] * len(cut.outvars)
            if operand.aval.shape == ()
            else self.slices(self.wide(operand, atom.aval.shape), cut)
            for operand in eqn.invars
        ]
        return [
            self.emit(eqn, list(operands), [self.new(eqn.outvars[0].aval.update(shape=var.aval.shape))])[0]
            for var, *operands in zip(cut.outvars, *cuts, strict=True)
        ]

    def _products(self, eqn: Eqn, cut: Eqn) -> list[Atom] | None:
        """Makes one product per slice of the weight; None if `cut` does not slice the axis of the weight."""
        found = _slices_of_weight(eqn, self.level, cut)
        if found is None:
            return None
        self.moved += 1
        position, free, params = found
        weight, other = eqn.invars[position], self.renamed(eqn.invars[1 - position])
        axis = _axis_of_weight(eqn, position)
        pieces = []
        for var in cut.outvars:
            shape = tuple(var.aval.shape[axis] if i == free else n for i, n in enumerate(weight.aval.shape))
            pieces.append(self.new(weight.aval.update(shape=shape)))
        self.emit(cut, [self.renamed(weight)], pieces, params)
        return [
            self.emit(eqn, [other, piece] if position == 1 else [piece, other], [self.new(var.aval)])[0]
            for var, piece in zip(cut.outvars, pieces, strict=True)
        ]


def _axis_of_weight(eqn: Eqn, position: int) -> int:
    """Finds the axis of a matrix product that comes from its weight."""
    return eqn.outvars[0].aval.ndim - 1 if position == 1 else 0


def _slices_of_weight(eqn: Eqn, level: dict[Var, int], cut: Eqn) -> tuple[int, int, dict] | None:
    """Returns which operand is the weight, its free axis, and how to slice it the way `cut` slices the product."""
    position = kinds.weight_position(eqn, level)
    if position is None or not at_once.is_matrix_product(eqn, position):
        return None
    (contracted,) = eqn.params["dimension_numbers"][0][position]
    free, axis = 1 - contracted, _axis_of_weight(eqn, position)
    weight, out = eqn.invars[position].aval, eqn.outvars[0].aval
    if cut.primitive.name == "split":
        return (position, free, {**cut.params, "axis": free}) if cut.params["axis"] == axis else None
    starts, limits, strides = (cut.params[name] for name in ("start_indices", "limit_indices", "strides"))
    whole = [(start, limit) == (0, n) for start, limit, n in zip(starts, limits, out.shape, strict=True)]
    if strides is not None or not all(whole[:axis] + whole[axis + 1 :]):
        return None
    ends = [(0, n) for n in weight.shape]
    ends[free] = (starts[axis], limits[axis])
    starts, limits = zip(*ends, strict=True)
    return position, free, {**cut.params, "start_indices": starts, "limit_indices": limits}
