"""The gate before the clock: compares outputs and gradients of a peer with a plain scan in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.peers import base, plain_scan
from experiments.benchmarks.peers.base import Problem, Runs


class Reference:
    """Outputs and gradients of a problem in float64, by a plain scan; computed once per variant."""

    def __init__(self, problem: Problem):
        self.problem = problem
        self.of = functools.cache(self._compute)

    def _compute(self, variant: str):
        params, options = self.problem.params, {}
        if variant == "reset_before":
            params, options = params._replace(b_h=None), {"reset_after": False}
        if variant == "no_b_h":
            params = base.without_b_h(params)
        program = plain_scan.make(self.problem, **options)

        def loss(params, inputs, lengths, ct):
            ys = program.apply(params, inputs, lengths)
            return jnp.sum(ys * ct), ys

        trees = params, self.problem.inputs, self.problem.ct
        with jax.enable_x64(True):
            params, inputs, ct = jax.tree.map(lambda leaf: leaf.astype(np.float64), trees)
            run = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
            gradients, ys = run(params, inputs, self.problem.lengths, ct)
            return jax.tree.map(np.asarray, (ys, gradients))


def relative_errors(runs: Runs, reference: Reference) -> dict[str, float]:
    """Returns the largest error of the outputs and of each gradient, relative to the largest correct entry."""
    ys, expected = reference.of(runs.variant)
    lengths = reference.problem.lengths
    real = 1.0 if lengths is None else base.real_steps(lengths, len(ys))[:, :, None]  # some leave noise in the padding
    pairs = {"ys": (runs.outputs() * real, ys)}
    if runs.gradients is not None:
        got = runs.gradients()
        if runs.variant:  # without the parameter that such a cell has not
            got, expected = ((tree[0]._replace(b_h=None), tree[1]) for tree in (got, expected))
        paths = jax.tree_util.tree_leaves_with_path(expected)
        leaves = zip(paths, jax.tree.leaves(got), strict=True)
        pairs |= {"d" + jax.tree_util.keystr(path[1:]).lstrip("."): (leaf, right) for (path, right), leaf in leaves}
    return {
        name: float(np.max(np.abs(np.asarray(a, np.float64) - b) / np.max(np.abs(b)))) for name, (a, b) in pairs.items()
    }
