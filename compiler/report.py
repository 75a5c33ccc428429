"""What a simulation looks like to a person: a text table and a self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .executable import Executable
from .simulation import Simulation

TEMPLATES = Path(__file__).parent / "templates"


def quantity(value: float, unit: str = "", base: float = 1000.0) -> str:
    """`1.23 M` style: three significant digits with a prefix."""
    for prefix in ("", "k", "M", "G", "T"):
        if abs(value) < base or prefix == "T":
            digits = (
                f"{value:.0f}" if prefix == "" and float(value).is_integer() else f"{value:.3g}"
            )
            return f"{digits} {prefix}{unit}".rstrip()
        value /= base
    raise AssertionError


def simulation_table(figures: Simulation) -> str:
    """Totals, units, and the slowest layers."""
    lines = [
        f"target {figures.machine.name}: {figures.cycles:,} cycles = {figures.seconds * 1e3:.3f} ms at "
        f"{figures.machine.clock_hz / 1e9:g} GHz",
        f"lower bound {figures.lower_bound_cycles:,} cycles (achieved {figures.cycles / max(1, figures.lower_bound_cycles):.2f}x)",
        f"utilisation {figures.utilization:.1%} ({quantity(figures.macs, 'MAC')}), DRAM traffic {quantity(figures.dram_bytes, 'B')}, "
        f"energy {quantity(sum(figures.energy.values()) * 1e-12, 'J') if sum(figures.energy.values()) >= 1e12 else quantity(sum(figures.energy.values()) / 1e6, 'uJ')}",
    ]
    if figures.host:
        lines.append(
            f"CPU end between NPU programs: {sum(h.milliseconds for h in figures.host):.3f} ms measured here in {len(figures.host)} segments"
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
    rows = sorted(figures.layers, key=lambda row: -row["cycles"])
    for row in rows[:12]:
        name = row["name"] if len(row["name"]) <= 44 else row["name"][:41] + "..."
        lines.append(
            f"{name:<44} {row['cycles']:>11,} {row['lower_bound_cycles']:>11,} "
            f"{row['cycles'] / max(1, row['lower_bound_cycles']):>6.2f}  {row.get('unit', '')}"
        )
    if len(rows) > 12:
        lines.append(f"... and {len(rows) - 12} more layers (--json or --report has all)")
    return "\n".join(lines)


def render_html(
    executable: Executable, figures: Simulation, extra: dict[str, Any] | None = None
) -> str:
    """A self-contained HTML report: totals, attribution, timeline, roofline, layers, CPU nodes."""
    from jinja2 import Environment, FileSystemLoader, select_autoescape

    from .report_charts import attribution_bars, roofline_chart, timeline_chart

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
        timeline=timeline_chart(figures),
        roofline=roofline_chart(figures),
        attribution=attribution_bars(figures),
        quantity=quantity,
        extra=extra or {},
    )
