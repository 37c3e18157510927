"""The peers in the benchmark of recurrence, one file per family, imported only if its package is installed."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

ALL_KINDS = ("unroll", "masked", "bidirectional", "two_layers", "attention")
ALL_CELLS = ("lstm", "gru", "rnn")


class Peer(NamedTuple):
    """A peer and where it lives.

    Attributes:
      name: in the tables.
      module: file of this package.
      make: function of it, Problem -> Program or Runs.
      packages: what it needs, by the names they are imported under.
      kinds: of the rows it has.
      cells: that it has.
    """

    name: str
    module: str
    make: str
    packages: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ALL_KINDS
    cells: tuple[str, ...] = ALL_CELLS

    def has(self, row) -> bool:
        """Tells whether the peer has such a row."""
        return row.kind in self.kinds and row.cell in self.cells


PEERS = (
    Peer("rnnjax", "rnnjax_peer", "make"),
    Peer("rnnjax_layers", "rnnjax_peer", "make_layers", kinds=("two_layers",)),
    Peer("scan", "plain_scan", "make"),
    Peer("linen", "flax_peers", "make_linen", ("flax",), kinds=("unroll", "masked", "bidirectional")),
    Peer("nnx", "flax_peers", "make_nnx", ("flax",), kinds=("unroll", "masked")),
    Peer("haiku", "haiku_peer", "make", ("haiku",), kinds=("unroll",), cells=("lstm", "gru")),
    Peer("equinox", "equinox_peer", "make", ("equinox",), kinds=("unroll",), cells=("lstm", "gru")),
    Peer("keras", "keras_peer", "make", ("keras",), kinds=("unroll",)),
    Peer("torch", "torch_peer", "make", ("torch",), kinds=("unroll", "masked", "bidirectional", "two_layers")),
    Peer("onnx", "onnx_peer", "make", ("onnx", "onnxruntime"), kinds=("unroll",)),
)
JAX_PEERS = ("linen", "nnx", "haiku", "equinox", "keras")  # the best of these is "jax" in the headline


def missing(peer: Peer) -> list[str]:
    """Returns the packages of a peer that are not installed."""
    return [package for package in peer.packages if importlib.util.find_spec(package) is None]


def load(peer: Peer) -> Callable[[Any], Any]:
    """Imports a peer and returns the function that makes its program for a problem."""
    return getattr(importlib.import_module(f"{__name__}.{peer.module}"), peer.make)
