"""Published figures against ours.

    python -m benchmarks.npu.validate [--anchors FILE.toml] [--network N1,N2] [--target T1,T2]
                                      [--quick] [--json OUT.json] [--page]

Rows are data: those of `anchors.toml` beside this file, and of the user's files (schema:
`validate_rows.py`).  For each, the network runs on the target under the policy of the publication
(`validate_execution.py`), by our compiler and simulator or by a model of the published software;
`method` says which.  Where it is such a model, `simulated` has the figure of our own program with
all optimisations beside it, except with `--quick`.  Where a publication leaves a parameter open,
`ranges` says how far it moves the result.  `error` is (ours - published) / published, or the
difference where 0 is published.

A row that cannot be compiled says why.  An unknown network, target, figure or parameter is one
message and exit code 2.  `--page` rewrites the table of docs/validation.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tilewright.backends.targets.machine import Machine
from tilewright.dialects.errors import InputError, TilewrightError

from .validate_execution import Policy, Workload, execute, machine_of, override, simulated
from .validate_results import Estimate, figure
from .validate_rows import Row, policy_of, read

ANCHORS = Path(__file__).with_name("anchors.toml")
PAGE = Path(__file__).parents[2] / "docs" / "validation.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
TOLERANCE = 0.1


@dataclass
class Range:
    """How far an open parameter moves the result: figures at both ends of its range."""

    parameter: str
    low: float
    high: float
    ours_low: float
    ours_high: float


@dataclass
class Outcome:
    """A row's figures; `failure` instead of `ours` where it cannot be had."""

    network: str
    target: str
    batch: int
    figure: str
    published: float
    ours: float | None = None
    error: float | None = None
    within: bool = False
    unit: str = ""
    method: str = ""
    simulated: float | None = None
    source: str = ""
    assumptions: str = ""
    policy: str = ""
    ranges: list[Range] = field(default_factory=list[Range])
    failure: str | None = None


Run = Callable[[Workload, Machine, Policy], Estimate]


class Validator:
    """Runs rows; equal executions once.  `run` and `own` are replaceable for tests."""

    def __init__(
        self, policies: Sequence[Policy], *, quick: bool = False, run: Run = execute,
        own: Run = simulated,
    ):  # fmt: skip
        self.policies, self.quick, self.run, self.own = policies, quick, run, own
        self._known: dict[str, Estimate | TilewrightError] = {}

    def outcome(self, row: Row) -> Outcome:
        """The figures of one row."""
        policy = policy_of(row, self.policies)
        out = Outcome(
            row.network, row.target, row.batch, row.figure, row.published, unit=row.unit,
            method=policy.method, source=row.source, policy=policy.name,
            assumptions=" ".join(t for t in (row.assumptions, _given(row)) if t),
        )  # fmt: skip
        values = {**policy.machine, **row.machine}
        try:
            out.ours = self._figure(row, policy, values)
            difference = out.ours - row.published
            out.error = difference / row.published if row.published else difference
            out.within = abs(out.error) <= TOLERANCE
            for key, ends in {**policy.ranges, **row.range}.items():
                low, high = (self._figure(row, policy, values, {key: end}) for end in ends)
                out.ranges.append(Range(key, *ends, low, high))
        except TilewrightError as error:
            out.failure = error.message
        if policy.method != "simulate" and row.simulate and not self.quick:
            # without the publication's policy: all optimisations, the whole network
            try:
                out.simulated = self._figure(row, Policy(), row.machine)
            except TilewrightError as error:
                out.failure = out.failure or f"simulated: {error.message}"
        return out

    def _figure(
        self, row: Row, policy: Policy, values: dict[str, Any] | Any,
        end: dict[str, float] | None = None,
    ) -> float:  # fmt: skip
        """The row's figure, with a parameter of policy or machine at the `end` of its range."""
        for key, value in (end or {}).items():
            if hasattr(policy, key):
                policy = replace(policy, **{key: value})  # pyright: ignore[reportArgumentType]
            else:
                values = {**values, key: type(_present(row.target, key))(value)}
        machine = override(machine_of(row.target), values) if values else machine_of(row.target)
        workload = Workload(row.network, row.batch, row.activation_bits)
        key = repr((workload, machine, policy))
        if key not in self._known:
            run = self.own if policy == Policy() else self.run
            try:
                self._known[key] = run(workload, machine, policy)
            except TilewrightError as error:
                self._known[key] = error
        result = self._known[key]
        if isinstance(result, TilewrightError):
            raise result
        return figure(row.figure, result, machine, row.batch)


def _present(target: str, path: str) -> Any:
    """The target's own value of a parameter."""
    value: Any = machine_of(target)
    for key in path.split("."):
        value = getattr(value, key)
    return value


def _given(row: Row) -> str:
    return "; ".join(f"{key} = {value}" for key, value in row.machine.items())


def selected(rows: Sequence[Row], networks: str | None, targets: str | None) -> list[Row]:
    """Rows of these comma-separated networks and targets; InputError if there are none."""
    some = [
        row for row in rows
        if (not networks or row.network in networks.split(","))
        and (not targets or row.target in targets.split(","))
    ]  # fmt: skip
    if not some:
        raise InputError(f"no row for network {networks or 'any'} on target {targets or 'any'}")
    return some


# --- reports ---


def text(value: float | None, name: str) -> str:
    """A figure for people: shares in percent."""
    if value is None:
        return ""
    if name == "utilization" or name.startswith("share:"):
        return f"{value:.1%}"
    return f"{value:,.0f}" if name == "cycles" else f"{value:,.4g}"


def cells(o: Outcome) -> list[str]:
    """One line of the tables."""
    error = "failed" if o.error is None else f"{o.error:+.1%}"
    ranges = [
        f"{r.parameter} {r.low:g} to {r.high:g}: {text(r.ours_low, o.figure)} to"
        f" {text(r.ours_high, o.figure)}"
        for r in o.ranges
    ]
    return [
        o.network, o.target, str(o.batch), o.figure, text(o.published, o.figure),
        text(o.ours, o.figure), error, o.unit, o.method, text(o.simulated, o.figure),
        ". ".join([o.assumptions, *ranges, *([o.failure] if o.failure else [])]), o.source,
    ]  # fmt: skip


HEADER = (
    "network", "target", "batch", "figure", "published", "ours", "error", "unit", "method",
    "simulated", "assumptions", "source",
)  # fmt: skip


def table(outcomes: Sequence[Outcome]) -> Table:
    """For a terminal: without sources, which are in the JSON."""
    out = Table(title="Published figures and ours")
    for name in HEADER[:-1]:
        right = name in ("batch", "published", "ours", "error", "simulated")
        out.add_column(name, justify="right" if right else "left")
    for outcome in outcomes:
        style = "red" if outcome.error is None else None if outcome.within else "yellow"
        out.add_row(*cells(outcome)[:-1], style=style)
    return out


def markdown(outcomes: Sequence[Outcome]) -> str:
    """For docs/validation.md."""
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    lines += [f"| {' | '.join(c.replace('|', '/') for c in cells(o))} |" for o in outcomes]
    return "\n".join(lines)


def write_page(outcomes: Sequence[Outcome], page: Path = PAGE) -> None:
    """Replace the table of the page, between its markers."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{markdown(outcomes)}\n{END}{after}", encoding="utf-8")


def outcomes_of(rows: Sequence[Row], validator: Validator, console: Console) -> Iterator[Outcome]:
    """Outcomes of all rows, with a line of progress for each on a terminal."""
    for row in rows:
        if console.is_terminal:
            console.print(f"[dim]{row.network} on {row.target}: {row.figure}[/dim]")
        yield validator.outcome(row)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0, or 2 for a wrong file or name."""
    parser = argparse.ArgumentParser(prog="benchmarks.npu.validate", description=__doc__)
    parser.add_argument("--anchors", action="append", default=[], help="TOML file with rows to add")
    parser.add_argument("--network", help="only rows of these networks, separated by commas")
    parser.add_argument("--target", help="only rows of these targets, separated by commas")
    parser.add_argument("--quick", action="store_true", help="no simulation beside other methods")
    parser.add_argument("--json", help="file for the rows, or - for standard output")
    parser.add_argument("--page", action="store_true", help="rewrite the table of the page")
    options = parser.parse_args(argv)
    try:
        rows, policies = read([ANCHORS, *options.anchors])
        rows = selected(rows, options.network, options.target)
    except TilewrightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console = Console(stderr=True)
    outcomes = list(outcomes_of(rows, Validator(policies, quick=options.quick), console))
    document = json.dumps({"rows": [asdict(o) for o in outcomes]}, indent=1) + "\n"
    if options.json == "-":
        print(document, end="")
    else:
        wide = Console(width=None if sys.stdout.isatty() else 240)
        wide.print(table(outcomes))
        if options.json:
            Path(options.json).write_text(document, encoding="utf-8")
    if options.page:
        write_page(outcomes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
