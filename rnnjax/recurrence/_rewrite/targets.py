"""Decides what pays on which platform: measured numbers, and the bytes that a rewrite may take."""

import math
from typing import Any, NamedTuple

from rnnjax._jaxprs import Eqn, at_most, bytes_of

MIB = 2**20

# What is computed for all steps at once takes at most so many bytes more than the loop itself, on any platform.
BUDGET = 16 * MIB
TPU_BLOCK = 2 * MIB  # unless the block is the shortest: large products take XLA's TPU compiler several times as long
SHORTEST_BLOCK = 4  # steps, fewer only if there are no more

# On CPUs, a product in the loop runs on one core if it has few columns or little to do, and is then better done for
# all steps at once; unless the outcome for all steps is so large that fresh memory for it costs more than that.
CPU_FEW_COLUMNS = 1024
CPU_SMALL_PRODUCT = 4_000_000  # multiply-adds a step

# On CPUs, one buffer holds all that a program needs beside its results. Beyond 32 MiB the C allocator takes it from the
# system anew at every call, and every page of it costs a fault.
CPU_ANEW = 32 * MIB  # bytes of a buffer, above which it is allocated afresh at every call
CPU_SPARE = 2 * MIB  # bytes left for what the rest of a program keeps beside the loop
CPU_BLOCK = 6 * MIB  # bytes of a block


GPUS = ("cuda", "rocm")


class Target(NamedTuple):
    """What a program is lowered for."""

    platform: str  # "cpu", "cuda", "rocm", "tpu"
    devices: int  # how many share an array whose sharding the compiler chooses

    @property
    def is_gpu(self) -> bool:
        """Tells whether each array written in a step takes a kernel."""
        return self.platform in GPUS

    @property
    def flat(self) -> bool:
        """Tells whether the rows of all steps may become one matrix."""
        return self.devices == 1


def is_symbolic(bytes_: Any) -> bool:
    """Tells whether a number of bytes depends on a symbolic dimension."""
    return not isinstance(bytes_, int)


def pays(eqn: Eqn, target: Target) -> bool:
    """Tells whether a product of a varying value with a weight is faster for all steps at once."""
    if target.platform != "cpu" or eqn.primitive.name != "dot_general":
        return True
    if target.devices > 1:  # each has one core, in the loop as well
        return False
    out = eqn.outvars[0].aval
    if out.shape and at_most(CPU_FEW_COLUMNS, out.shape[-1]):
        (contracting, _), _ = eqn.params["dimension_numbers"]
        terms = math.prod(eqn.invars[0].aval.shape[axis] for axis in contracting)
        return at_most(math.prod(out.shape) * terms, CPU_SMALL_PRODUCT)
    return True


def sum_pays(eqn: Eqn, target: Target) -> bool:
    """Tells whether a product that is accumulated over steps is faster as one product over all steps.

    A TPU then saves the traffic of the accumulator and pays for that of the operands.
    """
    out, operands = bytes_of(eqn.outvars), bytes_of(eqn.invars)
    return target.platform != "tpu" or eqn.primitive.name == "scatter-add" or at_most(operands, out)


def block_size(target: Target, length: Any, extra: Any, stacked: Any, weights: Any) -> Any:
    """Chooses how many steps run at once: T, a divisor of it, or 0 if none will do.

    Given are bytes per step, of what is computed for all steps at once and of what is stacked in any case; `weights`
    are the
    bytes of what is invariant."""
    if is_symbolic(length) or is_symbolic(extra):
        # What cannot be known must not grow beyond what is there anyway.
        return length if at_most(extra, stacked) else 0
    if target.platform == "cpu" and not is_symbolic(stacked):
        in_blocks = length * stacked + 2 * weights + 4 * stacked
        if length * (extra + stacked) > CPU_ANEW and in_blocks <= CPU_ANEW - CPU_SPARE:
            near = _divisor_near(length, max(1, CPU_BLOCK // (extra + stacked)))
            if near:
                return near
    fits = TPU_BLOCK if target.platform == "tpu" else BUDGET
    if length * extra <= fits or (length <= SHORTEST_BLOCK and length * extra <= BUDGET):
        return length
    blocks = [steps for steps in range(SHORTEST_BLOCK, BUDGET // extra + 1) if length % steps == 0]
    return max((steps for steps in blocks if steps * extra <= fits), default=min(blocks, default=0))


def _divisor_near(length: int, wanted: int) -> int:
    """Returns the divisor of length nearest to wanted, within a factor of two; 0 if there is none."""
    near = sorted(range(wanted // 2 + 1, 2 * wanted + 1), key=lambda steps: abs(math.log(steps / wanted)))
    return next((steps for steps in near if length % steps == 0 and SHORTEST_BLOCK <= steps < length), 0)
