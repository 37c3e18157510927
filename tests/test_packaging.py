"""What pyproject.toml says of the package: its dependencies are what it imports, and importing it changes nothing."""

import ast
import functools
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import rnnjax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def distributions(requirements):
    """Names of distributions in a list of requirements, without extras and versions."""
    return {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}


def modules(nodes):
    """Top-level modules that these nodes import, those of the standard library and our own left out."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found - {*sys.stdlib_module_names, "rnnjax"}


def imported(at_import):
    """Distributions that rnnjax/ imports: whenever it is imported, or in any function too."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "rnnjax").rglob("*.py")]
    names = modules(node for tree in trees for node in (tree.body if at_import else ast.walk(tree)))
    owners = importlib.metadata.packages_distributions()
    return {owner.lower() for name in names for owner in owners.get(name, [name])}


@pytest.mark.slow
def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    required = distributions(PROJECT["dependencies"])
    optional = set().union(*(distributions(EXTRAS[extra]) for extra in EXTRAS))
    assert imported(at_import=True) <= required
    assert required <= imported(at_import=False) <= required | optional


def test_jax_has_the_same_bounds_everywhere():
    bounds = {re.sub(r"^jax(lib)?(\[\w+\])?", "", line) for line in PROJECT["dependencies"] if line.startswith("jax")}
    bounds |= {re.sub(r"^jax\[\w+\]", "", line) for extra in ("cuda13", "tpu") for line in EXTRAS[extra]}
    assert bounds == {">=0.10.1,!=0.10.2"}


def test_every_folder_is_part_of_the_package():
    for path in (ROOT / "rnnjax").rglob("*.py"):
        assert (path.parent / "__init__.py").exists(), f"{path.parent} would be missing from a wheel"
    assert (ROOT / "rnnjax" / "py.typed").exists()


def test_new_names_of_the_changelog_exist():
    table = (ROOT / "CHANGELOG.md").read_text().split("| before | now |")[1].split("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()[2:]]
    for before, now in rows:
        moved = re.findall(r"`(\w+)`", before) if now.startswith("in `") else []
        for place in re.findall(r"`(rnnjax\.[\w.]+)`", now):
            for dotted in [f"{place}.{name}" for name in moved] or [place]:
                *faces, name = dotted.split(".")[1:]
                assert name in functools.reduce(getattr, faces, rnnjax).__all__, f"{dotted} is not public"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/index.md", "docs/design.md"])
def test_links_to_files_lead_somewhere(name):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text())
    for link in links:
        assert link.startswith("https://") or ((ROOT / name).parent / link).exists(), link


IMPORT = """
import logging, os, sys, warnings
import chex, flax, jax, numpy, optax

def state():
    loggers = {"root": logging.root, **logging.root.manager.loggerDict}
    settings = {
        name: (logger.level, logger.disabled, logger.propagate, list(logger.handlers), list(logger.filters))
        for name, logger in loggers.items()
        if isinstance(logger, logging.Logger)
    }
    untouched = (logging.NOTSET, False, True, [], [])
    return {
        "loggers": {name: setting for name, setting in settings.items() if setting != untouched},
        "logging": logging.root.manager.disable,
        "config": dict(jax.config.values),
        "environment": dict(os.environ),
        "warnings": list(warnings.filters),
        "errors": numpy.geterr(),
        "random": numpy.random.get_state()[1].tolist(),
    }

before = state()
import rnnjax
for name in rnnjax.__all__:
    getattr(rnnjax, name)
after = state()
changed = [(name, before[name], after[name]) for name in before if before[name] != after[name]]
assert not changed, changed
"""

LAZY = """
import sys
import rnnjax
dear = {"chex", "flax", "hypothesis", "matplotlib", "orbax", "rnnjax.flax", "rnnjax.testing", "tqdm"} & set(sys.modules)
assert not dear, dear
assert {"flax", "testing"} <= set(dir(rnnjax))
assert rnnjax.flax.__name__ == "rnnjax.flax" and rnnjax.testing.__name__ == "rnnjax.testing"
try:
    rnnjax.nonsense
except AttributeError as error:
    assert str(error) == "module 'rnnjax' has no attribute 'nonsense'", error
else:
    raise AssertionError("rnnjax.nonsense exists")
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_importing_changes_no_logger_flag_or_environment():
    run(IMPORT)


@pytest.mark.slow
def test_importing_is_light():
    run(LAZY)
