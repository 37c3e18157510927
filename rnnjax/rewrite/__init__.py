"""How `rnnjax.scan` rewrites the body of a loop; not part of the public interface.

The body of a scan is traced to a jaxpr, a list of equations over three kinds of inputs: invariants (what the body
closes over, above all parameters), the carry, and the x of the step. Every value has a level, the highest of what
it depends on: INVARIANT < INPUT < CARRY. From there:

    jaxprs.py     trace a body, inline calls, evaluate a jaxpr equation by equation, levels
    hoisting.py   what leaves the loop: invariant work, and products of the inputs for all steps at once
    taps.py       which products and sums get the gradient of their weights after the loop
    residuals.py  what the forward pass keeps for the backward pass: a minimum cut
    program.py    all of that, one after the other: the rewritten body
    linearise.py  a step and its linearisation
    blocks.py     how many steps are worked on at once
    keeping.py    what a block of steps keeps for its derivative
    gradients.py  the derivative of the loop
    loop.py       the loop put together again
"""
