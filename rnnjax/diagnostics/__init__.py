"""Look inside a cell: gradients by lag, Jacobians and their spectra, saturation.

Functions of any `Cell`, for a plot or a log; training needs none of them.
"""

from rnnjax.diagnostics._activations import Saturation, activations, saturation
from rnnjax.diagnostics._gradients import GradientNorms, gradient_norms, growth_rate, half_life
from rnnjax.diagnostics._jacobians import JacobianSpectrum, jacobian_spectrum, lyapunov_exponents, step_jacobians

__all__ = [
    "GradientNorms",
    "JacobianSpectrum",
    "Saturation",
    "activations",
    "gradient_norms",
    "growth_rate",
    "half_life",
    "jacobian_spectrum",
    "lyapunov_exponents",
    "saturation",
    "step_jacobians",
]
