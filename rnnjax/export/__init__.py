"""Programs that run where neither this library nor the code of a model is: cells and functions through `jax.export`.

A program is StableHLO with symbolic sizes. Its file is an `.npz`, with the parameters, the first carry and notes of
your own beside it, which JAX and NumPy read. What goes in and comes out are arrays, and dicts of arrays by dotted
names, such as `{"layers.0.h": ..., "layers.0.c": ...}` for the carry of a stack: no NamedTuple has to be known there.
"""

from rnnjax.export._cells import export_sequence, export_step
from rnnjax.export._file import load, save
from rnnjax.export._function import export_function
from rnnjax.export._program import Program

__all__ = ["Program", "export_function", "export_sequence", "export_step", "load", "save"]
