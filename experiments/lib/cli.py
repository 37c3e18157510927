"""Command lines of the experiments: made from a frozen config dataclass, with presets."""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import tyro

ConfigT = TypeVar("ConfigT")


def parse(
    config_type: type[ConfigT],
    *,
    prog: str,
    description: str,
    args: Sequence[str],
    presets: Mapping[str, ConfigT] | None = None,
    default: ConfigT | None = None,
) -> ConfigT:
    """The config that the command line describes: the default's or the preset's values, changed by the options.

    From `--smoke` on JAX compiles without most optimisations.
    """
    name = _option(args, "--preset")
    if default is None:
        default = config_type()
    if name is not None and presets is not None:
        if name not in presets:
            raise SystemExit(f"{prog}: expected --preset to be one of {', '.join(presets)}, got {name!r}.")
        default = presets[name]
    config = tyro.cli(config_type, prog=prog, description=description, default=default, args=args)
    if getattr(config, "smoke", False):  # it compiles much and computes little
        jax.config.update("jax_disable_most_optimizations", True)
    return config


def _option(args: Sequence[str], name: str) -> str | None:
    """The value of an option in a list of arguments, or None."""
    for i, arg in enumerate(args):
        if arg == name and i + 1 < len(args):
            return args[i + 1]
        if arg.startswith(name + "="):
            return arg.split("=", 1)[1]
    return None


def main_guard(run, *, prog: str) -> None:
    """Runs an experiment; what the user can mend is one sentence on stderr and status 1, not a traceback."""
    try:
        run()
    except (ValueError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def result_line(name: str, seed: int, seconds: float, **headline: Any) -> None:
    """Prints the last line of an experiment, which a script can read."""
    line = {"name": name, "seed": seed, "seconds": round(seconds, 1), **headline}
    print("result: " + json.dumps(line), flush=True)


def as_json(config: Any) -> dict[str, Any]:
    """A config as what JSON holds: tuples become lists."""
    return json.loads(json.dumps(dataclasses.asdict(config)))
