"""Weights from and to other frameworks.

`from_<framework>` makes a `Network(layers, params, options)` of what the other framework has, and `to_<framework>` goes
back. Nothing is lost on the way but what the two biases of some frameworks add up to; what cannot be represented raises
ValueError, which says what it is.
"""

from rnnjax.convert._network import Network
from rnnjax.convert._torch import from_torch, to_torch

__all__ = ["Network", "from_torch", "to_torch"]
