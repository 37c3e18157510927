"""Command lines made from frozen dataclasses, and what a program says at its end."""

import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import tyro

Changes = Mapping[str, Any]  # values of options by name


def parse(config_type, *, prog: str, description: str, args: Sequence[str], default=None, presets=None, smoke=None):
    """Reads a command line; an option wins over `--smoke`, that over `--preset`, that over the default.

    The config is a frozen dataclass, in which each field has a default and a comment, its help. With `--smoke`, JAX
    compiles without most optimisations, for such a run compiles much and computes little. A wrong option exits with 2.
    """
    config = config_type() if default is None else default
    if (preset := option(args, "--preset")) is not None and presets is not None:
        if preset not in presets:
            raise ValueError(f"expected --preset to be one of {', '.join(presets)}, got {preset!r}.")
        config = dataclasses.replace(config, **presets[preset])  # type: ignore[type-var]
    if "--smoke" in args:
        config = dataclasses.replace(config, **smoke or {})  # type: ignore[type-var]
        jax.config.update("jax_disable_most_optimizations", True)
    return tyro.cli(config_type, prog=prog, description=description, default=config, args=args)


def option(args: Sequence[str], name: str) -> str | None:
    """Finds the value of an option in a command line, or None."""
    for arg, following in itertools.pairwise([*args, None]):
        if arg == name:
            return following
        if arg.startswith(name + "="):
            return arg.split("=", 1)[1]
    return None


def main_guard(run: Callable[[], Any], *, prog: str) -> None:
    """Runs a program; what its user can mend is one sentence on stderr and status 1, not a traceback."""
    try:
        run()
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def result_line(name: str, seed: int, seconds: float, **headline: Any) -> None:
    """Prints the last line of a program, which a script can read."""
    line = {"name": name, "seed": seed, "seconds": round(seconds, 1), **headline}
    print("result: " + json.dumps(line), flush=True)


def as_json(config: Any) -> dict[str, Any]:
    """A config as JSON has it: tuples become lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))
