"""Chooses what the forward pass keeps for the backward pass: a minimum cut of the body.

The linear body needs some values of the nonlinear one. Any set of values from which these follow by cheap,
elementwise work will do; the set with the fewest bytes is kept (a cut of least capacity in the graph of the body, as
in Chen et al. 2016, "Training deep nets with sublinear memory cost", and the partitioner of PyTorch's AOTAutograd).
Among equal sets the one nearest to the linear body is taken, which leaves less to recompute.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Jaxpr, Var

# Elementwise functions, and what only moves values. A reduction costs more to do again than its outcome to keep.
CHEAP = frozenset(
    """
    abs add add_any and atan2 broadcast_in_dim ceil clamp concatenate convert_element_type copy cos div eq erf exp
    exp2 expm1 floor ge gt imag integer_pow iota is_finite le log log1p logistic lt max min mul ne neg not
    one_minus_square or pad pow real rem reshape rev round
    rsqrt select_n sign sin slice split sqrt square squeeze sub tan tanh transpose xor
    """.split()  # noqa: SIM905
)
_UNBOUNDED = float("inf")


def cheapest_to_keep(jaxpr: Jaxpr, free: set[Var], kept: Iterable[Var], wanted: Iterable[Var]) -> list[Var]:
    """Returns the vars to keep so that cheap equations compute `wanted` from them, `kept` and `free`.

    `free` are available anyway; `kept` are kept in any case and not returned again.
    """
    made_by = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
    kept = set(kept)
    known = _follow_from(jaxpr, free | kept)
    wanted = [var for var in dict.fromkeys(wanted) if var not in known]

    # Each value is an edge (var, "in") -> (var, "out") of its bytes; equations are edges without bound.
    capacity: dict = {}

    def edge(a, b, amount):
        capacity.setdefault(a, {})[b] = amount
        capacity.setdefault(b, {}).setdefault(a, 0)

    seen, stack = set(), list(wanted)
    while stack:
        var = stack.pop()
        if var in seen:
            continue
        seen.add(var)
        edge((var, "in"), (var, "out"), jaxprs.assumed_size(var) or 1)
        eqn = made_by.get(var)
        if eqn is None or eqn.primitive.name not in CHEAP:
            edge("source", (var, "in"), _UNBOUNDED)
            continue
        for operand in jaxprs.variables(eqn.invars):
            if operand not in known:
                edge((operand, "out"), (var, "in"), _UNBOUNDED)
                stack.append(operand)
    for var in wanted:
        edge((var, "out"), "sink", _UNBOUNDED)
    if not wanted:
        return []
    _fill(capacity)
    reaches_sink = _reaching(capacity, "sink")
    return [
        var
        for var in [*jaxpr.invars, *made_by]
        if var in seen and (var, "out") in reaches_sink and (var, "in") not in reaches_sink
    ]


def _follow_from(jaxpr: Jaxpr, start: set[Var]) -> set[Var]:
    """Returns everything that cheap equations compute from some vars alone."""
    known = set(start)
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in CHEAP and all(var in known for var in jaxprs.variables(eqn.invars)):
            known.update(eqn.outvars)
    return known


def _fill(capacity: dict) -> None:
    """Augments the flow from source to sink until no path is left; `capacity` becomes the residual capacity."""
    while True:
        came_from: dict[Any, Any] = {"source": None}
        queue: deque[Any] = deque(["source"])
        while queue and "sink" not in came_from:
            node: Any = queue.popleft()
            for other, amount in capacity.get(node, {}).items():
                if amount > 0 and other not in came_from:
                    came_from[other] = node
                    queue.append(other)
        if "sink" not in came_from:
            return
        path: list[tuple[Any, Any]] = []
        node = "sink"
        while came_from[node] is not None:
            path.append((came_from[node], node))
            node = came_from[node]
        amount = min(capacity[a][b] for a, b in path)
        for a, b in path:
            capacity[a][b] -= amount
            capacity[b][a] += amount


def _reaching(capacity: dict, goal) -> set:
    """Returns the nodes from which the goal can be reached within the residual capacity."""
    found, queue = {goal}, deque([goal])
    while queue:
        node = queue.popleft()
        for other in capacity.get(node, {}):
            if other not in found and capacity[other].get(node, 0) > 0:
                found.add(other)
                queue.append(other)
    return found
