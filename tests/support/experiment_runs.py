"""What the tests of experiments share: a smoke run, done once for a module, and what holds for every one of them."""

import dataclasses
import re

import pytest


def smoke_config(experiment, folder, **changes):
    """The config of a smoke run."""
    config = dataclasses.replace(experiment.Config(), smoke=True, **experiment.SMOKE)
    return dataclasses.replace(config, out=str(folder), **changes)


def smoke_fixture(experiment):
    """A fixture: the folder of a smoke run, and its result."""

    @pytest.fixture(scope="module")
    def smoke(tmp_path_factory):
        folder = tmp_path_factory.mktemp("smoke")
        return folder, experiment.main(smoke_config(experiment, folder))

    return smoke


def figures_of(folder):
    """Names of the figures that the report shows, each of which is there."""
    names = re.findall(r"!\[.*\]\((.*)\.png\)", (folder / "report.md").read_text())
    for name in names:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    return set(names)
