"""Lists the experiments and the benchmarks, each with the first line of its docstring."""

import ast
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent


def programs() -> Iterator[tuple[str, str]]:
    """Yields `(name, first line of its docstring)` for every program, without importing any."""
    for path in sorted(HERE.rglob("*.py")):
        parts = path.relative_to(HERE).with_suffix("").parts
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and '\nif __name__ == "__main__":' in text:
            doc = ast.get_docstring(ast.parse(text)) or ""
            yield ".".join(part for part in parts if part != "__main__"), doc.splitlines()[0]


if __name__ == "__main__":
    print("python -m experiments.<name>, of these names; --help shows the options, --smoke takes seconds\n")
    for name, line in sorted(programs(), key=lambda program: ("." in program[0], program)):
        print(f"{name:<25} {line}")
