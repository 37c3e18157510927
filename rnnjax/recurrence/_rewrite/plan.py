"""Decides what leaves a loop that is about to be lowered, before it and after it, and how many steps run at once.

    early   products of the inputs with a weight, for all steps before the loop; with what feeds them
    sums    accumulators of a product, the gradients of weights above all: one product over all steps after the loop
    late    products with a weight that nothing in the loop reads, for all steps after it

All of it comes from the short lists of kinds.py and stays within a budget of bytes; a long loop runs in blocks of
steps.
"""

from typing import Any, NamedTuple

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Atom, Eqn, Var
from rnnjax.recurrence._rewrite import kinds, layout, packing, targets
from rnnjax.recurrence._rewrite.kinds import CARRY, INPUT, INVARIANT
from rnnjax.recurrence._rewrite.loops import Loop, invariant_equations, levels
from rnnjax.recurrence._rewrite.sums import Sum, find_sums
from rnnjax.recurrence._rewrite.targets import Target


class Choice(NamedTuple):
    """What leaves a loop by choice."""

    early: list[Eqn]  # products
    late: list[Eqn]
    sums: list[Sum]


class Plan(NamedTuple):
    """A loop, and what happens where."""

    loop: Loop
    before: list[Eqn]  # invariant work
    early: list[Eqn]
    body: list[Eqn]
    late: list[Eqn]
    sums: dict[int, Sum]  # by the carry that sums up
    looped: list[int]  # carries that the loop still has
    scanned: list[Var]  # what the loop reads of each step: xs, and what is made early
    stacked: list[Var]  # what it puts out at each step: ys, and what follows it reads
    views: list[Eqn]  # views of xs that what follows the loop reads
    groups: list[list[Var]]  # of what is stacked, what shares an array
    shifted: dict[Var, int]  # carries that are stacked as the step before puts them out
    block: Any  # steps

    def changes(self) -> bool:
        """Tells whether anything leaves the loop besides invariant work, which compilers find themselves."""
        return bool(self.early or self.late or self.sums)

    def read_outside(self) -> set[Var]:
        """Returns what is read for all steps of a block at once."""
        of_sums = [var for total in self.sums.values() for addend in total.after for var in addend.operands]
        shifted = [self.loop.carry_out[i] for i in self.shifted.values()]
        return jaxprs.reads([*self.early, *self.views, *self.late], [*of_sums, *shifted])

    def extra_bytes(self) -> Any:
        """Returns the bytes per step that the plan takes beyond the plain loop."""
        made = [*jaxprs.makers([*self.early, *self.late, *self.views]), *self.stacked]
        return jaxprs.bytes_of(var for var in made if var not in self.loop.ys)

    def loop_bytes(self) -> Any:
        """Returns the bytes per step that the loop reads or writes, whichever is more."""
        scanned, stacked = map(jaxprs.bytes_of, (self.scanned, self.stacked))
        return stacked if jaxprs.at_most(scanned, stacked) else scanned


def make_plan(loop: Loop, target: Target) -> Plan:
    """Makes the plan for a loop on a target."""
    loop = loop._replace(jaxpr=jaxprs.inline(loop.jaxpr, jaxprs.CALLS | jaxprs.RULES))
    if target.platform == "cpu" and target.devices == 1:
        loop = _laid_out(loop, target)
    level = levels(loop)
    choice = Choice(_early_products(loop, level, target), _late(loop, level, target), find_sums(loop, level, target))
    weights = jaxprs.bytes_of(loop.consts)
    while True:
        plan = _assemble(loop, level, choice)
        block = targets.block_size(target, loop.length, plan.extra_bytes(), plan.loop_bytes(), weights)
        if not plan.changes():
            return plan
        if not isinstance(block, int) or block:
            plan = plan._replace(block=block)
            return _for_gpu(plan) if target.is_gpu else plan
        choice = _without_dearest(choice)


def _laid_out(loop: Loop, target: Target) -> Loop:
    """Lays out the weights of a loop as a CPU reads them best."""
    while True:
        level = levels(loop)
        moved = layout.move_slices_up(loop.jaxpr, _early_products(loop, level, target), level)
        if moved is loop.jaxpr:
            return loop._replace(jaxpr=layout.turn_weights(loop.jaxpr, level))
        loop = loop._replace(jaxpr=moved)


def _assemble(loop: Loop, level: dict[Var, int], choice: Choice) -> Plan:
    """Works out what happens where, given what leaves the loop."""
    early = _with_feeders_and_views(loop, level, choice.early)
    addends = [addend for total in choice.sums for addend in total.after]
    outside = [*early, *choice.late, *(eqn for addend in addends for eqn in addend.equations)]
    # Invariant work: what is read outside of the loop, and what is worth its memory.
    before = kinds.worth_once(invariant_equations(loop), loop.consts, jaxprs.reads(outside))
    made_before, made_outside = jaxprs.makers(before), jaxprs.makers([*early, *choice.late])

    read_after = [atom for eqn in choice.late for atom in eqn.invars]
    read_after += [var for addend in addends for var in addend.operands]
    views = _views_of_xs(loop, read_after)
    not_from_loop = {*loop.consts, *loop.xs, *made_before, *made_outside, *jaxprs.makers(views)}
    stacked = [var for var in jaxprs.variables([*loop.ys, *read_after]) if var not in not_from_loop]

    sums = {total.carry: total for total in choice.sums}
    looped = [i for i in range(loop.n_carry) if i not in sums or sums[i].inside]
    carry_out = [atom for i in looped for atom in (sums[i].inside if i in sums else [loop.carry_out[i]])]
    ids = {id(eqn) for eqn in (*before, *early, *choice.late)}
    body = jaxprs.needed([eqn for eqn in loop.jaxpr.eqns if id(eqn) not in ids], [*carry_out, *stacked])
    read = jaxprs.reads(body, [*carry_out, *stacked])
    scanned = [var for var in [*loop.xs, *jaxprs.makers(early)] if var in read]
    alone = [[var] for var in stacked]
    return Plan(loop, before, early, body, choice.late, sums, looped, scanned, stacked, views, alone, {}, loop.length)


def _for_gpu(plan: Plan) -> Plan:
    """Changes a plan to need few kernels per step: one stacked array, without carries of the step before.

    A carry read both by the kernel that stacks it and by the kernel that makes the next one would be copied at each
    step.
    """
    loop, made = plan.loop, jaxprs.makers(plan.body)
    shifted = {
        var: i
        for i, (var, out) in enumerate(zip(loop.carry, loop.carry_out, strict=True))
        if var in plan.stacked and i in plan.looped and i not in plan.sums and jaxprs.is_var(out) and out in made
    }
    stacked = [loop.carry_out[shifted[var]] if var in shifted else var for var in plan.stacked]
    stacked = list(dict.fromkeys(stacked))
    return plan._replace(stacked=stacked, shifted=shifted, groups=packing.groups(stacked))


def _without_dearest(choice: Choice) -> Choice:
    """Drops what takes the most bytes per step from a choice."""
    addends = [addend for total in choice.sums for addend in total.after]
    options: list[Any] = [*choice.early, *choice.late, *addends]

    def cost(option):
        return jaxprs.bytes_of([*option.outvars, *option.invars] if hasattr(option, "invars") else option.operands)

    dearest = options[0]
    for option in options[1:]:
        if not jaxprs.at_most(cost(option), cost(dearest)):
            dearest = option
    late = [eqn for eqn in choice.late if eqn is not dearest]
    sums = [total.keep_inside(dearest) for total in choice.sums]
    return Choice(
        [eqn for eqn in choice.early if eqn is not dearest],
        _behind_products(late),
        [total for total in sums if total.after],
    )


# ---- before the loop -----------------------------------------------------------------------------------------


def _views_of_xs(loop: Loop, wanted: list[Atom]) -> list[Eqn]:
    """Finds the equations that are mere views of an x, which are not worth stacking."""
    made = set(loop.xs)
    views = []
    for eqn in loop.jaxpr.eqns:
        if eqn.primitive.name in kinds.VIEWS and jaxprs.follows_from(eqn, made):
            made.update(eqn.outvars)
            views.append(eqn)
    return jaxprs.needed(views, (atom for atom in wanted if jaxprs.is_var(atom) and atom in made))


def _early_products(loop: Loop, level: dict[Var, int], target: Target) -> list[Eqn]:
    """Finds products of the inputs that are worth computing for all steps at once."""
    jaxpr = loop.jaxpr
    made_by, readers = jaxprs.makers(jaxpr.eqns), jaxprs.readers(jaxpr)
    found: list[Eqn] = []

    def feeds(atom: Atom) -> bool:
        """Tells whether a value may be computed for all steps at once."""
        if kinds.level_of(level, atom) == INVARIANT or atom in loop.xs:
            return True
        eqn = made_by.get(atom)
        if eqn is None:
            return False
        fits = eqn.primitive.name in kinds.ELEMENTWISE | kinds.VIEWS or kinds.is_look_up(eqn, level)
        return any(eqn is other for other in found) or (fits and all(map(feeds, eqn.invars)))

    def is_read_in_step(var: Var) -> bool:
        """Tells whether the loop reads a value only elementwise or by slices, or not at all."""
        return all(
            eqn.primitive.name in kinds.PRODUCTS
            or (eqn.primitive.name in kinds.ELEMENTWISE | kinds.VIEWS and all(map(is_read_in_step, eqn.outvars)))
            for eqn in readers.get(var, [])
            if eqn is not None and level[eqn.outvars[0]] == INPUT
        )

    for eqn in jaxpr.eqns:
        position = kinds.weight_position(eqn, level) if level[eqn.outvars[0]] == INPUT else None
        if position is None or not targets.pays(eqn, target) or not feeds(eqn.invars[1 - position]):
            continue
        if target.is_gpu or is_read_in_step(eqn.outvars[0]):
            found.append(eqn)
    return found


def _with_feeders_and_views(loop: Loop, level: dict[Var, int], products: list[Eqn]) -> list[Eqn]:
    """Adds what early products are made from, and mere views of them."""
    outs = {var for eqn in products for var in eqn.outvars}
    for eqn in loop.jaxpr.eqns:
        if eqn.primitive.name in kinds.VIEWS and jaxprs.follows_from(eqn, outs):
            outs.update(eqn.outvars)
    eqns = jaxprs.needed(loop.jaxpr.eqns, outs)
    return [eqn for eqn in eqns if level[eqn.outvars[0]] == INPUT]


# ---- after the loop ------------------------------------------------------------------------------------------


def _late(loop: Loop, level: dict[Var, int], target: Target) -> list[Eqn]:
    """Finds products that nothing in the loop reads, and the elementwise work that follows them."""
    readers = jaxprs.readers(loop.jaxpr)
    carried = set(jaxprs.variables(loop.carry_out))
    late: dict[int, Eqn] = {}
    for eqn in reversed(loop.jaxpr.eqns):
        is_product = kinds.weight_position(eqn, level) is not None and targets.pays(eqn, target)
        if not is_product and eqn.primitive.name not in kinds.ELEMENTWISE | kinds.VIEWS:
            continue
        uses = [reader for var in eqn.outvars for reader in readers.get(var, [])]
        reaches_carry = any(var in carried for var in eqn.outvars)
        if level[eqn.outvars[0]] == CARRY and not reaches_carry and all(u is None or id(u) in late for u in uses):
            late[id(eqn)] = eqn
    return _behind_products(list(late.values())[::-1])


def _behind_products(eqns: list[Eqn]) -> list[Eqn]:
    """Selects the products among equations and what depends on them."""
    made: set[Var] = set()
    kept = []
    for eqn in eqns:
        if eqn.primitive.name in kinds.PRODUCTS or any(var in made for var in jaxprs.variables(eqn.invars)):
            made.update(eqn.outvars)
            kept.append(eqn)
    return kept
