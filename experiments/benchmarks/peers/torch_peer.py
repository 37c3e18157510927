"""PyTorch on the CPU: torch.nn.LSTM, GRU and RNN.

Weights are `[G * H, F]`, with two biases, of which the second is zero but for the GRU's candidate. The LSTM has the
gates i, f, g, o; the GRU r, z, n with h = (1 - z) * n + z * h, so that z is 1 - u, and reset after the product.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiments.benchmarks.peers.base import LEARNING_RATE, Inputs, Problem, Runs, negate_update

MODULES = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}


def convert(problem: Problem, params) -> dict:
    """Converts parameters to those of the module, by name."""
    kind = problem.row.kind
    if kind == "two_layers":
        layers = {"_l0": params.layers[0], "_l1": params.layers[1]}
    elif kind == "bidirectional":
        layers = {"_l0": params.forward, "_l0_reverse": params.backward}
    else:
        layers = {"_l0": params}
    converted = {}
    for suffix, layer in layers.items():
        w_x, w_h, b = layer[:3]
        b_h = jnp.zeros_like(b)
        if problem.row.cell == "gru":
            w_x, w_h, b = (negate_update(gate, 1) for gate in (w_x, w_h, b))
            b_h = jnp.concatenate([b_h[: 2 * problem.row.hidden], layer.b_h])
        named = {"weight_ih": w_x.T, "weight_hh": w_h.T, "bias_ih": b, "bias_hh": b_h}
        converted |= {name + suffix: array for name, array in named.items()}
    return converted


def make(problem: Problem) -> Runs:
    """Makes the module: packed sequences in masked rows, num_layers=2, bidirectional=True."""
    row = problem.row
    options = {"num_layers": 2 if row.kind == "two_layers" else 1, "bidirectional": row.kind == "bidirectional"}
    module = MODULES[row.cell](row.hidden, row.hidden, **options)
    weights = convert(problem, problem.params)
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    xs, ct = (torch.from_numpy(np.array(array)) for array in (problem.inputs.xs, problem.ct))
    by_xs = xs.clone().requires_grad_()
    parameters = dict(module.named_parameters())
    optimizer = torch.optim.Adam(module.parameters(), lr=LEARNING_RATE)

    def apply(xs):
        if row.kind != "masked":
            return module(xs)[0]
        lengths = torch.from_numpy(problem.lengths.astype(np.int64))
        packed = torch.nn.utils.rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False)
        return torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], total_length=row.steps)[0]

    @torch.inference_mode()
    def forward():
        return apply(xs)

    def grad():
        return torch.autograd.grad((apply(by_xs) * ct).sum(), [by_xs, *parameters.values()])

    def train():
        optimizer.zero_grad()
        loss = (apply(xs) * ct).sum()
        loss.backward()
        optimizer.step()
        return loss

    def gradients():
        dxs, *rest = (gradient.numpy().copy() for gradient in grad())
        pull = jax.vjp(lambda params: convert(problem, params), problem.params)[1]
        return pull(dict(zip(parameters, map(jnp.asarray, rest), strict=True)))[0], Inputs(dxs)

    return Runs({"forward": forward, "grad": grad, "train": train}, lambda: forward().numpy(), gradients)


def ceiling(size: int, repetitions: int) -> float:
    """Measures operations per second of a float32 product of square matrices, the best of several runs."""
    a, best = torch.randn(size, size), float("inf")
    with torch.inference_mode():
        for _ in range(repetitions):
            start = time.perf_counter()
            torch.mm(a, a)
            best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best
