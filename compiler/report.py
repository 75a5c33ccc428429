"""What a simulation looks like to a person: a text table and a self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .executable import Executable
from .report_cliffs import by_cause, cliff_lines, groups, headline
from .simulation import Simulation

TEMPLATES = Path(__file__).parent / "templates"
PREFIXES = {-12: "p", -9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


def quantity(value: float, unit: str = "") -> str:
    """Three significant digits with a prefix: `1.23 MB`, `45.6 uJ`; small integers as they are."""
    if abs(value) < 1000 and float(value).is_integer():
        return f"{value:.0f} {unit}".rstrip()
    exponent = int(f"{value:.2e}".partition("e")[2])
    power = max(-12, min(12, exponent // 3 * 3))
    return f"{value / 10.0**power:.3g} {PREFIXES[power]}{unit}".rstrip()


def joules(figures: Simulation) -> str:
    """The energy of all actions."""
    return quantity(sum(figures.energy.values()) * 1e-12, "J")


def simulation_table(figures: Simulation) -> str:
    """Totals, units, the slowest layers, and those that use the machine badly."""
    machine, bound = figures.machine, figures.lower_bound_cycles
    lines = [
        f"target {machine.name}: {figures.cycles:,} cycles = {figures.seconds * 1e3:.3f} ms "
        f"at {machine.clock_hz / 1e9:g} GHz",
        f"lower bound {bound:,} cycles (achieved {figures.cycles / max(1, bound):.2f}x)",
        f"utilisation {figures.utilization:.1%} ({quantity(figures.macs, 'MAC')}), "
        f"DRAM traffic {quantity(figures.dram_bytes, 'B')}, energy {joules(figures)}",
    ]
    if figures.host:
        lines.append(
            f"CPU end between NPU programs: {sum(h.milliseconds for h in figures.host):.3f} ms "
            f"measured here in {len(figures.host)} segments"
        )
    lines += ["", f"{'unit':<9} {'busy':>7}  stalls"]
    for unit, kinds in figures.units.items():
        total = max(1, sum(kinds.values()))
        stalls = ", ".join(
            f"{k.replace('_', ' ')} {v / total:.1%}"
            for k, v in sorted(kinds.items(), key=lambda kv: -kv[1])
            if k != "busy" and v
        )
        lines.append(f"{unit:<9} {kinds.get('busy', 0) / total:>7.1%}  {stalls}")
    lines += ["", f"{'layer':<44} {'cycles':>11} {'bound':>11} {'ratio':>6}  limited by"]
    rows = sorted(figures.layers, key=lambda row: -row["exclusive_cycles"])
    for row in rows[:12]:
        name = row["name"] if len(row["name"]) <= 44 else row["name"][:41] + "..."
        lines.append(
            f"{name:<44} {row['exclusive_cycles']:>11,} {row['lower_bound_cycles']:>11,} "
            f"{row['exclusive_cycles'] / max(1, row['lower_bound_cycles']):>6.2f}"
            f"  {row.get('unit', '')}"
        )
    if len(rows) > 12:
        lines.append(f"... and {len(rows) - 12} more layers (--json or --report has all)")
    if found := cliff_lines(figures.cliffs, figures.cycles):
        lines += ["", *found]
    return "\n".join(lines)


def render_html(
    executable: Executable, figures: Simulation, extra: dict[str, Any] | None = None
) -> str:
    """A self-contained HTML report: totals, attribution, timeline, roofline, layers, CPU nodes."""
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    from .report_charts import attribution_bars, roofline_chart, timeline_chart

    found = figures.cliffs
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        executable=executable,
        manifest=executable.artefact.manifest,
        figures=figures,
        machine=figures.machine,
        layers=figures.layers,
        cliffs=[(headline(group[0]), group) for group in groups(found)],
        causes=by_cause(found),
        timeline=timeline_chart(figures),
        roofline=roofline_chart(figures),
        attribution=attribution_bars(figures),
        quantity=quantity,
        energy=joules(figures),
        extra=extra or {},
    )
