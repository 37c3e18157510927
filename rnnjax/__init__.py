"""rnnjax: recurrent networks for JAX."""

from rnnjax import _jaxlib_check as _jaxlib_check
from rnnjax.cells import *
from rnnjax.combinators import *
from rnnjax.initializers import *
from rnnjax.scan import scan
from rnnjax.types import Cell
from rnnjax.unroll import *
from rnnjax.unroll import unroll
__version__ = "0.1.0"
