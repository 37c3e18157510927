"""ONNX Runtime on the CPU, inference only, its spinning off: the operators LSTM, GRU and RNN."""

import onnxruntime

from experiments.benchmarks.peers.base import Problem, Runs, make_cell
from rnnjax.convert import to_onnx


def make(problem: Problem, threads: int = 0) -> Runs:
    """Makes a session of one node with that many threads (0: the runtime's choice)."""
    model = to_onnx(make_cell(problem.row), problem.params)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])

    def forward():
        return session.run(["ys"], {"xs": problem.inputs.xs})[0]

    return Runs({"forward": forward}, forward, None)
