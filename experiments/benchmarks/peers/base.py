"""What all peers share: the rows, their weights and data in rnnjax's layout, and how a JAX program is run.

Every peer converts the same float32 weights by a function that JAX can differentiate, so that its gradients come back
to rnnjax's layout through the transpose of that function. In all rows F = H, in attention A = H.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax

CELLS = {"lstm": rnnjax.lstm, "gru": rnnjax.gru, "rnn": rnnjax.rnn}
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
SOURCE_LENGTH = 50  # S of the attention decoder
LEARNING_RATE = 1e-5


class Row(NamedTuple):
    """One row of the benchmark.

    Attributes:
      kind: unroll, masked, bidirectional, two_layers or attention.
      cell: lstm, gru or rnn.
      batch: B.
      hidden: H, and F.
      steps: T.
      modes: of forward, grad, train.
    """

    kind: str
    cell: str
    batch: int
    hidden: int
    steps: int
    modes: tuple[str, ...] = ("grad", "forward")

    @property
    def name(self) -> str:
        shape = f"{self.cell}_b{self.batch}_h{self.hidden}_t{self.steps}"
        return shape if self.kind == "unroll" else f"{self.kind}_{shape}"

    def flops(self, mode: str) -> float:
        """Counts the floating-point operations of the products; forward and backward take three times forward."""
        tbh = 2.0 * self.steps * self.batch * self.hidden
        inputs = 3 if self.kind == "attention" else 2  # [x, h], and the context
        forward = tbh * inputs * self.hidden * GATES[self.cell]
        if self.kind in ("bidirectional", "two_layers"):
            forward *= 2
        if self.kind == "attention":  # the query, the scores and the context of each step, the keys once
            forward += tbh * (self.hidden + 2 * SOURCE_LENGTH)
            forward += 2.0 * SOURCE_LENGTH * self.batch * self.hidden**2
        return forward if mode == "forward" else 3 * forward


class Inputs(NamedTuple):
    """What a program is differentiated with respect to, besides its weights.

    Attributes:
      xs: `[T, B, F]`.
      memory: `[S, B, H]` of the attention decoder, else None.
    """

    xs: Any
    memory: Any = None


class Problem(NamedTuple):
    """The weights and data of a row, in float32 NumPy.

    Attributes:
      row: the `Row`.
      params: RNNParams, GRUParams or LSTMParams; Bidirectional or Layers of two; or AttentionParams.
      inputs: `Inputs`.
      lengths: integers `[B]` of a masked row, else None.
      ct: `[T, B, H]`, or 2H if bidirectional; the loss is sum(ys * ct). Zero in the padding.
    """

    row: Row
    params: Any
    inputs: Inputs
    lengths: Any
    ct: Any


class AttentionParams(NamedTuple):
    """Parameters of the attention decoder.

    Attributes:
      w_m: weights of the memory `[H, A]`.
      w_q: weights of the query `[H, A]`.
      v: `[A]`.
      cell: those of the cell, which sees `[x, context]`, F + H features.
    """

    w_m: Any
    w_q: Any
    v: Any
    cell: Any


class Program(NamedTuple):
    """What a JAX peer makes of a row.

    Attributes:
      convert: rnnjax's params -> the peer's, differentiable.
      apply: (the peer's params, Inputs, lengths) -> ys `[T, B, H]`.
      batch_major: whether xs and ys are `[B, T, ...]` here; they are transposed before anything is timed.
      variant: "", or a key of `VARIANTS` if the peer's cell cannot match rnnjax's exactly.
    """

    convert: Callable[[Any], Any]
    apply: Callable[[Any, Inputs, Any], Any]
    batch_major: bool = False
    variant: str = ""


# What the peer's GRU has instead; the reference that its numbers are held to has the same.
VARIANTS = {
    "reset_before": "the reset gate comes before the product, so that a step has two products in a row",
    "no_b_h": "no recurrent bias in the candidate",
}


class Runs(NamedTuple):
    """What any peer makes of a row, ready to be timed.

    Attributes:
      modes: mode -> a function of nothing that computes to the end.
      outputs: () -> ys `[T, B, H]`.
      gradients: () -> (gradients of rnnjax's params, `Inputs` of gradients), or None.
      variant: as in `Program`.
    """

    modes: dict[str, Callable[[], Any]]
    outputs: Callable[[], Any]
    gradients: Callable[[], Any] | None
    variant: str = ""


def make_cell(row: Row, **options) -> rnnjax.Cell:
    """Makes the cell of a row: a stack of two for a two-layer row, one direction for a bidirectional row."""
    if row.cell != "gru":
        options = {}
    features = 2 * row.hidden if row.kind == "attention" else row.hidden
    cell = CELLS[row.cell](features, row.hidden, **options)
    return rnnjax.stack([cell, cell]) if row.kind == "two_layers" else cell


def layers_of(row: Row, params: Any, **options) -> tuple[list, rnnjax.Layers]:
    """Returns the layers of a row with their parameters, as `unroll_layers` takes them."""
    cell = make_cell(row._replace(kind="unroll"), **options)
    layers = {"two_layers": [cell, cell], "bidirectional": [(cell, cell)]}.get(row.kind, [cell])
    return layers, params if isinstance(params, rnnjax.Layers) else rnnjax.Layers((params,))


def draw(row: Row, seed: int) -> Problem:
    """Draws weights, uniform within 1 / sqrt(H) of zero as torch draws them, normal data, and half-full masks."""
    rng = np.random.default_rng([seed, row.batch, row.hidden, row.steps])
    t, b, h = row.steps, row.batch, row.hidden
    shapes = jax.eval_shape(make_cell(row).init, jax.random.key(0))
    if row.kind == "bidirectional":
        shapes = rnnjax.Bidirectional(shapes, shapes)
    if row.kind == "attention":
        square, vector = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((h, h), (h,)))
        shapes = AttentionParams(square, square, vector, shapes)
    bound = h**-0.5
    params = jax.tree.map(lambda leaf: rng.uniform(-bound, bound, leaf.shape).astype(np.float32), shapes)
    xs = rng.standard_normal((t, b, h), np.float32)
    ct = rng.standard_normal((t, b, 2 * h if row.kind == "bidirectional" else h), np.float32)
    lengths, memory = None, None
    if row.kind == "masked":
        lengths = rng.permutation(np.linspace(1, t, b).round().astype(np.int32))
        ct *= real_steps(lengths, t)[:, :, None]
    if row.kind == "attention":
        memory = rng.standard_normal((SOURCE_LENGTH, b, h), np.float32)
    return Problem(row, params, Inputs(xs, memory), lengths, ct)


def real_steps(lengths: np.ndarray, steps: int) -> np.ndarray:
    """Returns booleans `[T, B]`, true before the end of each row of lengths `[B]`."""
    return np.arange(steps)[:, None] < lengths[None]


def without_b_h(params: Any) -> Any:
    """Sets the recurrent bias of the candidate to zeros."""
    return params._replace(b_h=np.zeros(params.b_h.shape, params.b_h.dtype))


def attention_decoder(scan: Callable, cell: rnnjax.Cell, params: AttentionParams, inputs: Inputs) -> Any:
    """Additive attention (Bahdanau et al. 2014) under teacher forcing, as an ordinary body under a scan; ys [T, B, H].

    score_s = v . tanh(W_m m_s + W_q h),  context = sum_s softmax(score)_s m_s,  h = cell([x, context])
    """
    keys = inputs.memory @ params.w_m  # [S, B, A]

    def body(carry, x):
        query = carry.h @ params.w_q  # [B, A]
        weights = jax.nn.softmax(jnp.tanh(keys + query[None]) @ params.v, axis=0)  # [S, B]
        context = jnp.sum(weights[:, :, None] * inputs.memory, axis=0)  # [B, H]
        return cell.apply(params.cell, carry, jnp.concatenate([x, context], axis=-1))

    carry = cell.initial_carry(inputs.xs.shape[1:2], inputs.xs.dtype)
    return scan(body, carry, inputs.xs)[1]


def jax_runs(program: Program, problem: Problem) -> Runs:
    """Compiles forward, value_and_grad of sum(ys * ct) by weights and inputs, and a step of Adam, one jit each."""
    source = without_b_h(problem.params) if program.variant == "no_b_h" else problem.params
    convert = jax.jit(program.convert)
    params = convert(source)

    def layout(array):
        return np.swapaxes(array, 0, 1) if program.batch_major else array

    inputs = Inputs(jnp.asarray(layout(problem.inputs.xs)), jax.tree.map(jnp.asarray, problem.inputs.memory))
    data = inputs, jax.tree.map(jnp.asarray, problem.lengths)
    ct = jnp.asarray(layout(problem.ct))
    optimizer = optax.adam(LEARNING_RATE)

    def loss(params, inputs, lengths, ct):
        return jnp.sum(program.apply(params, inputs, lengths) * ct)

    forward = jax.jit(program.apply)
    grad = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))

    @jax.jit
    def step(params, state, inputs, lengths, ct):
        value, gradients = jax.value_and_grad(loss)(params, inputs, lengths, ct)
        updates, state = optimizer.update(gradients, state, params)
        return value, optax.apply_updates(params, updates), state

    trained = params, optimizer.init(params)

    def train():
        nonlocal trained
        value, *trained = jax.block_until_ready(step(*trained, *data, ct))
        return value

    def gradients():
        _, (by_params, by_inputs) = grad(params, *data, ct)
        (by_params,) = jax.jit(lambda p, g: jax.vjp(program.convert, p)[1](g))(source, by_params)
        return by_params, by_inputs._replace(xs=layout(np.asarray(by_inputs.xs)))

    modes = {
        "forward": lambda: jax.block_until_ready(forward(params, *data)),
        "grad": lambda: jax.block_until_ready(grad(params, *data, ct)),
        "train": train,
    }
    return Runs(modes, lambda: layout(np.asarray(forward(params, *data))), gradients, program.variant)
