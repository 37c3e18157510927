"""What happens where the rewrite fails: a plain scan for the user, an error for the tests.

With the environment variable RNNJAX_STRICT, which the tests set, an internal failure is raised.
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

failures: Counter = Counter()  # how often which part has given up, by its name and the kind of error


def attempt(part: str, function: Callable[[], Any]) -> Any:
    """Returns `function()`, or None if it fails."""
    try:
        return function()
    except Exception as error:
        if os.environ.get("RNNJAX_STRICT"):
            raise
        failures[part, type(error).__name__] += 1
        return None
