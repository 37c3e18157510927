"""Look inside a cell: gradients by lag, Jacobians and their spectra, saturation."""

from rnnjax.diagnostics._diagnostics import (
    GradientNorms,
    JacobianSpectrum,
    Saturation,
    activations,
    gradient_norms,
    growth_rate,
    half_life,
    jacobian_spectrum,
    lyapunov_exponents,
    saturation,
    step_jacobians,
)

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
