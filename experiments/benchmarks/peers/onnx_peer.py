"""ONNX Runtime on the CPU, inference only, its spinning off: the operators LSTM, GRU and RNN.

Weights are `[1, G * H, F]`. The LSTM has the gates i, o, f, c; the GRU z, r, h with h = (1 - z) * n + z * h, so that
z is 1 - u, and, with linear_before_reset, reset after the product.
"""

import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from experiments.benchmarks.peers.base import Problem, Runs, negate_update, reorder


def make(problem: Problem, threads: int = 0) -> Runs:
    """Makes a session of one node with that many threads (0: the runtime's choice)."""
    row = problem.row
    w_x, w_h, b = problem.params[:3]
    b_h = jnp.zeros_like(b)
    if row.cell == "lstm":
        w_x, w_h, b = (reorder(gates, (0, 3, 1, 2)) for gates in (w_x, w_h, b))
    if row.cell == "gru":
        w_x, w_h, b = (reorder(negate_update(gates, 1), (1, 0, 2)) for gates in (w_x, w_h, b))
        b_h = jnp.concatenate([b_h[: 2 * row.hidden], problem.params.b_h])
    weights = {"W": w_x.T, "R": w_h.T, "B": jnp.concatenate([b, b_h])}
    options = {"linear_before_reset": 1} if row.cell == "gru" else {}
    node = helper.make_node(row.cell.upper(), ["X", "W", "R", "B"], ["Y"], hidden_size=row.hidden, **options)
    shapes = {"X": [row.steps, row.batch, row.hidden], "Y": [row.steps, 1, row.batch, row.hidden]}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    initializers = [numpy_helper.from_array(np.array(array)[None], name) for name, array in weights.items()]
    graph = helper.make_graph([node], row.name, [x], [y], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])

    def forward():
        return session.run(None, {"X": problem.inputs.xs})[0]

    return Runs({"forward": forward}, lambda: forward()[:, 0], None)
