"""Counts what a compiled program does, in its text: products, collectives, kernels and cycles.

Counts are per device; the body of a loop counts once per iteration. `Program(compiled.as_text())`.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
BYTES |= {"s64": 8, "u64": 8}
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
LAUNCHES = ("fusion", "custom-call", "copy", "dynamic-slice", "dynamic-update-slice", "dot", "while", "conditional")

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition|branch_computations)=\{?%?([\w.\-]+)")


class Op(NamedTuple):
    """One line of a computation."""

    name: str
    shape: str  # of the outcome, as text
    kind: str
    rest: str  # operands and attributes


class Program:
    """A compiled program, by computation."""

    def __init__(self, text: str):
        self.computations: dict[str, list[Op]] = {}
        self.entry, name = "", ""
        for line in text.splitlines():
            if header := _HEADER.match(line):
                name = header.group(2)
                self.computations[name] = []
                self.entry = name if header.group(1) else self.entry
            elif found := _LINE.match(line):
                self.computations[name].append(Op(*found.groups()))

    def loops(self) -> list[tuple[str, int]]:
        """Returns the bodies of loops, nested ones included, and how often each runs."""
        whiles = [op for ops in self.computations.values() for op in ops if op.kind == "while"]
        return [(_called(op, "body"), self._turns(op)) for op in whiles]

    def _turns(self, op: Op) -> int:
        """Returns the iterations of a loop: what the compiler noted, or the bound its counter is compared with."""
        noted = re.search(r'"known_trip_count":\{"n":"(\d+)"', op.rest)
        if noted:
            return int(noted.group(1))
        condition = self.computations.get(_called(op, "condition"), [])
        bounds = [int(n.rest.split(")")[0]) for n in condition if n.kind == "constant" and n.shape.startswith("s32[]")]
        return max(bounds, default=1)

    def runs(self, name: str = "", times: int = 1) -> Iterator[tuple[Op, str, int]]:
        """Yields every operation, the computation it belongs to, and how often it runs."""
        name = name or self.entry
        for op in self.computations[name]:
            yield op, name, times
            turns = self._turns(op) if op.kind == "while" else 1
            for called in _CALLED.findall(op.rest):
                if called in self.computations:
                    yield from self.runs(called, times * turns)

    def multiply_adds(self) -> int:
        """Counts the multiply-adds of all products in one run."""
        return sum(times * self._of_product(op, name) for op, name, times in self.runs() if op.kind == "dot")

    def _of_product(self, op: Op, name: str) -> int:
        lhs = re.match(r"(?:\w+\[[\d,]*\](?:\{[^}]*\})? )?%?([\w.\-]+)", op.rest)
        shape = next(other.shape for other in self.computations[name] if lhs and other.name == lhs.group(1))
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", op.rest)
        dims = _dims(shape)
        return math.prod(_dims(op.shape)) * math.prod(
            dims[int(a)] for a in (axes.group(1) if axes else "").split(",") if a
        )

    def collectives(self, in_loops: bool = False) -> dict[str, int]:
        """Adds up the bytes that collectives write in one run, by kind; on request only of those in loops."""
        found: dict[str, int] = {}
        for op, _, times in self.runs():
            kind = op.kind.removesuffix("-start")
            if kind in COLLECTIVES and (times > 1 or not in_loops):
                found[kind] = found.get(kind, 0) + times * _bytes(op.shape)
        return found

    def moves(self, in_loops: bool = False) -> dict[str, int]:
        """Counts the collectives of one run, by kind; on request only those in loops."""
        found: dict[str, int] = {}
        for op, _, times in self.runs():
            kind = op.kind.removesuffix("-start")
            if kind in COLLECTIVES and (times > 1 or not in_loops):
                found[kind] = found.get(kind, 0) + times
        return found

    def launches(self) -> list[int]:
        """Counts the kernels in the body of each innermost loop, in program order."""
        bodies = [self.computations[body] for body, _ in self.loops()]
        return [sum(op.kind in LAUNCHES for op in ops) for ops in bodies if not any(op.kind == "while" for op in ops)]

    def cycles(self, per_run: bool) -> list[int]:
        """Returns the cycles that the TPU's compiler expects: for a whole run, or per step of each innermost loop."""

        def of(op: Op) -> int:
            found = re.search(r'"estimated_cycles":"(\d+)"', op.rest)
            return int(found.group(1)) if found else 0

        if per_run:
            return [sum(times * of(op) for op, _, times in self.runs())]
        bodies = [self.computations[body] for body, _ in self.loops()]
        return [sum(map(of, ops)) for ops in bodies if not any(op.kind == "while" for op in ops)]


def _called(op: Op, what: str) -> str:
    found = re.search(what + r"=%?([\w.\-]+)", op.rest)
    return found.group(1) if found else ""


def _dims(shape: str) -> list[int]:
    found = _SHAPE.search(shape)
    return [int(n) for n in found.group(2).split(",") if n] if found else []


def _bytes(shape: str) -> int:
    return sum(
        BYTES.get(dtype, 4) * math.prod(int(n) for n in dims.split(",") if n) for dtype, dims in _SHAPE.findall(shape)
    )
