"""How `rnnjax.scan` rewrites the body of a loop; not part of the public interface.

`lax.scan` traces a call once, and the result is bound as a primitive that stands for that scan. It transforms the way
JAX transforms a scan; the body is rewritten only when it is lowered, with platform, devices and all sizes known. The
body is a jaxpr, a list of equations over three kinds of inputs: invariants (what the body closes over, mostly
parameters), the carry, and the x of the step. Every value has a level, the highest of what it depends on: INVARIANT <
INPUT < CARRY. Whatever is on no list of kinds.py stays in the loop; whatever fails becomes the plain scan.

    kinds.py      the lists of what may leave a loop or be recomputed; levels
    fallback.py   what happens where the rewrite fails
    targets.py    what pays on which platform; bytes, and blocks of steps
    loops.py      the primitive, and how loops are read and made
    residuals.py  what a forward pass keeps for its derivative: a minimum cut
    split.py      a loop that is differentiated, split into a forward and a linear one
    rules.py      the other rules of the primitive
    at_once.py    equations for all steps at once, and sums of products over all steps
    layout.py     weights as a CPU reads them best
    packing.py    what a GPU stacks, as one array
    delay.py      products that a loop carries, taken where a GPU reads them
    sums.py       accumulators of products, mostly gradients of weights
    plan.py       what leaves a loop, before and after it, and how many steps at once
    execute.py    a loop computed along its plan
    lower.py      the lowering rule
    entry.py      the way in
"""
