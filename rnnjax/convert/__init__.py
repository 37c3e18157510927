"""Weights from and to other frameworks.

`from_<framework>` makes a `Network(layers, params, options)` of what the other framework has, and `to_<framework>` goes
back. Nothing is lost on the way but what the two biases of some frameworks add up to, and one rounding of a forget bias
to which theirs adds 1 as it runs; what cannot be represented raises ValueError, which says what it is.
"""

from rnnjax.convert._equinox import from_equinox, to_equinox
from rnnjax.convert._haiku import from_haiku, to_haiku
from rnnjax.convert._keras import from_keras, to_keras
from rnnjax.convert._linen import from_linen, to_linen
from rnnjax.convert._network import Network
from rnnjax.convert._nnx import from_nnx, to_nnx
from rnnjax.convert._onnx_read import from_onnx
from rnnjax.convert._onnx_write import to_onnx
from rnnjax.convert._torch import from_torch, to_torch

__all__ = [
    "Network",
    "from_equinox",
    "from_haiku",
    "from_keras",
    "from_linen",
    "from_nnx",
    "from_onnx",
    "from_torch",
    "to_equinox",
    "to_haiku",
    "to_keras",
    "to_linen",
    "to_nnx",
    "to_onnx",
    "to_torch",
]
