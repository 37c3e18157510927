"""The frame as experiments without a template use it: a report of sections."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.lib import frame
from experiments.lib.frame import Run


def begin(name: str, config: Any, smoke: Mapping[str, Any]) -> Run:
    """`frame.begin`, with the values of a smoke run."""
    del name
    return frame.begin(dataclasses.replace(config, **smoke) if config.smoke else config)


def finish(run: Run, *, title: str, headline: Mapping[str, Any], sections: Mapping[str, str]) -> dict[str, Any]:
    """`frame.finish`, with sections in the place of a template."""
    run = run._replace(template=Path(__file__).with_name("sections.md"))
    return frame.finish(run, headline, title=title, sections=sections)


def command_line(name: str, description: str, config_type: type, main: Callable[[Any], Any]) -> None:
    """`frame.command_line`."""
    del name, description, config_type
    frame.command_line(main, smoke={})
