"""Warns, at import, about the one jaxlib that returns wrong numbers on x86 CPUs (jax issue 39103)."""

import platform
import warnings

import jaxlib

BAD_VERSION = "0.10.2"


def warn_if_wrong(version: str = jaxlib.__version__, machine: str = platform.machine()) -> None:
    """One warning, one sentence, if this jaxlib on this processor is known to compute wrong numbers."""
    if version == BAD_VERSION and machine.lower() in ("x86_64", "amd64"):
        warnings.warn(
            f"jaxlib {BAD_VERSION} returns wrong numbers on x86 CPUs (jax issue 39103): install another version, "
            'with pip install "jax!=0.10.2" "jaxlib!=0.10.2".',
            RuntimeWarning,
            stacklevel=2,
        )


warn_if_wrong()
