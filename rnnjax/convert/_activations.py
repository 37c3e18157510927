"""Activations by the names that Keras and ONNX have for them."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Activation, Array
from rnnjax.convert._network import named

# Without parameters. Those that take one in Keras have its default.
KERAS: Mapping[str, Activation] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "relu": jax.nn.relu,
    "linear": jax.nn.identity,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "hard_tanh": jax.nn.hard_tanh,
    "softsign": jax.nn.soft_sign,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "celu": jax.nn.celu,
    "silu": jax.nn.silu,
    "hard_silu": jax.nn.hard_silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.2),
    "relu6": jax.nn.relu6,
    "mish": jax.nn.mish,
    "exponential": jnp.exp,
    "log_sigmoid": jax.nn.log_sigmoid,
    "squareplus": jax.nn.squareplus,
    "sparse_plus": jax.nn.sparse_plus,
    "sparse_sigmoid": jax.nn.sparse_sigmoid,
}


def affine(z: Array, *, alpha: float, beta: float) -> Array:
    """alpha z + beta."""
    return alpha * z + beta


def scaled_tanh(z: Array, *, alpha: float, beta: float) -> Array:
    """alpha tanh(beta z)."""
    return alpha * jnp.tanh(beta * z)


def hard_sigmoid(z: Array, *, alpha: float, beta: float) -> Array:
    """alpha z + beta, clipped to [0, 1]."""
    return jnp.clip(alpha * z + beta, 0, 1)


def thresholded_relu(z: Array, *, alpha: float) -> Array:
    """z above alpha, and 0 elsewhere."""
    return jnp.where(z > alpha, z, 0)


ONNX: Mapping[str, Activation] = {
    "Tanh": jnp.tanh,
    "Sigmoid": jax.nn.sigmoid,
    "Relu": jax.nn.relu,
    "Softsign": jax.nn.soft_sign,
    "Softplus": jax.nn.softplus,
}
# With parameters: alpha and, where there are two, beta, under the names that the function has for them. Defaults are
# those of the operators of the same name; None where there is no such operator, so that runtimes choose.
ONNX_WITH_PARAMETERS: Mapping[str, tuple[Callable[..., Array], Mapping[str, float | None]]] = {
    "Affine": (affine, {"alpha": None, "beta": None}),
    "ScaledTanh": (scaled_tanh, {"alpha": None, "beta": None}),
    "HardSigmoid": (hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
    "ThresholdedRelu": (thresholded_relu, {"alpha": 1.0}),
    "LeakyRelu": (jax.nn.leaky_relu, {"negative_slope": 0.01}),
    "Elu": (jax.nn.elu, {"alpha": 1.0}),
}
# What has a name of its own here and none there.
ONNX_ALIASES: Mapping[Activation, tuple[str, tuple[float, ...]]] = {
    jax.nn.identity: ("Affine", (1.0, 0.0)),
    jax.nn.hard_sigmoid: ("HardSigmoid", (1 / 6, 0.5)),
    jax.nn.leaky_relu: ("LeakyRelu", (0.01,)),
    jax.nn.elu: ("Elu", (1.0,)),
}


def from_keras_name(where: str, name: Any) -> Activation:
    """The activation of a Keras configuration, which has a name for those of Keras and a dict for others."""
    if not isinstance(name, str) or name not in KERAS:
        shown = name.get("config") if isinstance(name, dict) else name
        raise ValueError(f"{where}: expected an activation among {', '.join(KERAS)}, got {shown!r}.")
    return KERAS[name]


def from_onnx_name(where: str, name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    """An activation of an operator, which takes the next of the parameters if it has any."""
    lower = name.lower()  # as runtimes compare them
    for known, function in ONNX.items():
        if known.lower() == lower:
            return function
    for known, (function, defaults) in ONNX_WITH_PARAMETERS.items():
        if known.lower() == lower:
            taken = zip(defaults.items(), (alphas, betas), strict=False)
            parameters = {key: next(values, default) for (key, default), values in taken}
            if None in parameters.values():
                raise ValueError(f"{where}: expected alpha and beta for {known}, got none; add them to the node.")
            for alias, (other, values) in ONNX_ALIASES.items():
                if other == known and [*map(np.float32, parameters.values())] == [*map(np.float32, values)]:
                    return alias
            return functools.partial(function, **parameters)
    raise ValueError(f"{where}: expected an activation among {', '.join([*ONNX, *ONNX_WITH_PARAMETERS])}, got {name}.")


def to_onnx_name(where: str, function: Activation) -> tuple[str, tuple[float, ...]]:
    """The name of an activation with its alpha and beta, as many as it has."""
    if function in ONNX_ALIASES:
        return ONNX_ALIASES[function]
    if isinstance(function, functools.partial) and not function.args:
        for known, (parametric, defaults) in ONNX_WITH_PARAMETERS.items():
            if function.func is parametric and function.keywords.keys() <= defaults.keys():
                return known, tuple({**defaults, **function.keywords}.values())
    return named({**ONNX, **{name: known for name, (known, _) in ONNX_WITH_PARAMETERS.items()}}, where, function), ()


def check_complementary(where: str, function: Activation) -> None:
    """Raises ValueError unless f(-a) = 1 - f(a), so that the gate 1 - f(a) has the weights of f(a) negated."""
    with jax.ensure_compile_time_eval():  # also where a conversion is traced
        points = jnp.linspace(-8, 8, 65, dtype=jnp.float32)
        sums = function(points) + function(-points)
    if not np.allclose(sums, 1, atol=1e-5):
        name = getattr(function, "__name__", repr(function))
        raise ValueError(
            f"{where}: expected a gate_activation f with f(-a) = 1 - f(a), such as sigmoid, since one side has a gate "
            f"where the other has 1 minus it, got {name}."
        )
