"""What a block of steps keeps for the linear body, and what is computed again from that."""

from collections.abc import Sequence
from typing import NamedTuple

from rnnjax.rewrite import blocks, jaxprs, residuals
from rnnjax.rewrite.jaxprs import Atom, Eqn, Var
from rnnjax.rewrite.linearise import Linearised, Step
from rnnjax.rewrite.program import Program


class Kept(NamedTuple):
    """What is kept of the steps."""

    size: int  # steps of a block
    stacks: list[Var]  # what is stacked up, a value a step
    earlier: dict[Var, int]  # the carries that are not, as the step before has put them out: which of the ys
    point: dict[Var, Atom]  # what the linear body reads of the point where it was linearised
    again: list[Eqn]  # what is computed again of the step, so that the point follows from the above

    def read_again(self) -> set[Var]:
        """What of the step is read when the point is computed again."""
        return jaxprs.reads(self.again, self.point.values())


def choose(program: Program, linearised: Linearised) -> Kept:
    """What to keep. The xs are there anyway; what was computed of them costs as much to keep as anything else."""
    step, push = linearised.step, linearised.push
    point = {var: atom for var, atom in zip(push.point, step.point, strict=True) if var in push.reads}
    there = {*step.fixed, *step.xs}
    kept = [var for var in jaxprs.variables(step.lhs) if var not in there]
    kept += residuals.cheapest_to_keep(step.jaxpr, there, kept, jaxprs.variables(point.values()))
    again = jaxprs.needed(step.jaxpr.eqns, point.values(), given={*there, *kept})
    earlier = _outputs_of_the_step_before(kept, step)
    stacks = [var for var in kept if var not in earlier]
    size = blocks.size(program, [*stacks, *step.ys], push.tap_of.values())
    if size == program.length:  # to shift outputs of all steps by one would take a copy of them
        earlier, stacks = {}, kept
    return Kept(size, stacks, earlier, point, again)


def _outputs_of_the_step_before(kept: Sequence[Var], step: Step) -> dict[Var, int]:
    """The kept carries that the step before has put out as its y: which of the ys each is."""
    pairs = [(var, y) for var, y in zip(step.carry, step.returned, strict=True) if var in kept and y in step.ys]
    return {var: step.ys.index(y) for var, y in pairs if jaxprs.is_var(y)}
