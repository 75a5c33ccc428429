"""Charts of the HTML report as inline SVG: attribution bars, timeline, roofline."""

from __future__ import annotations

import math
from html import escape

from .simulation import Simulation

PALETTE = {
    "busy": "#2f7d5b",
    "fill_drain": "#8fbf9f",
    "semaphore": "#d9a441",
    "wait": "#d9a441",
    "dram": "#b5523b",
    "bank": "#8a5a9e",
    "queue": "#c9785d",
    "dispatch": "#7d93b2",
    "fetch": "#7d93b2",
    "idle": "#e4e4df",
}


def colour(kind: str) -> str:
    """The colour of a kind of cycle: by the first palette key its name contains."""
    return next((c for key, c in PALETTE.items() if key in kind), "#b8b8b0")


def attribution_bars(figures: Simulation) -> str:
    """One stacked bar per unit: busy and every kind of stall, as shares of all cycles."""
    width, row, left = 860, 30, 80
    units = figures.units
    kinds = list(dict.fromkeys(k for row_kinds in units.values() for k in row_kinds))
    parts: list[str] = []
    for index, (unit, values) in enumerate(units.items()):
        y, x, total = index * row + 4, float(left), max(1, sum(values.values()))
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{escape(unit)}</text>')
        for kind in kinds:
            share = values.get(kind, 0) / total
            if share <= 0:
                continue
            w = share * (width - left)
            title = f"{unit}: {kind.replace('_', ' ')} {values[kind]:,} cycles ({share:.1%})"
            parts.append(_bar(x, y, w, 22, colour(kind), title))
            if w > 60:
                ink = "#fff" if kind == "busy" else "#222"
                parts.append(
                    f'<text x="{x + 5:.1f}" y="{y + 15}" fill="{ink}" font-size="11">'
                    f"{escape(kind.replace('_', ' '))} {share:.0%}</text>"
                )
            x += w
    return _svg(width, len(units) * row + 4, parts)


def timeline_chart(figures: Simulation) -> str:
    """Layers over time: one bar per layer, its lower bound drawn inside."""
    layers = figures.layers
    width, left, row = 860, 260, 16
    total = max(1, figures.cycles)
    scale = (width - left) / total
    parts: list[str] = []
    shown = layers[:120]
    for index, layer in enumerate(shown):
        y = index * row
        start, length = layer.get("start", 0), layer["cycles"]
        title = f"{layer['name']}: {length:,} cycles, bound {layer['lower_bound_cycles']:,}"
        name = layer["name"] if len(layer["name"]) <= 42 else layer["name"][:39] + "..."
        parts.append(
            f'<text x="{left - 6}" y="{y + 12}" text-anchor="end" font-size="10">'
            f"{escape(name)}</text>"
        )
        bound = min(layer["lower_bound_cycles"], length)
        for cycles, fill in ((length, "#9db8ad"), (bound, "#2f7d5b")):
            w = max(1.0, cycles * scale)
            parts.append(_bar(left + start * scale, y + 2, w, row - 4, fill, title))
    return _svg(width, max(1, len(shown)) * row + 4, parts)


def roofline_chart(figures: Simulation) -> str:
    """Every layer by arithmetic intensity (MAC per DRAM byte) and rate (MAC per cycle), log-log."""
    width, height, pad = 860, 330, 48
    machine = figures.machine
    peak, bandwidth = float(machine.peak_macs_per_cycle), machine.dram.bytes_per_cycle
    points = [
        (layer["macs"] / layer["dram_bytes"], layer["macs"] / layer["cycles"], layer["name"])
        for layer in figures.layers
        if layer.get("macs") and layer.get("dram_bytes") and layer["cycles"]
    ]
    ridge = peak / bandwidth
    low_x, high_x = (
        min([0.1, ridge / 10, *(p[0] for p in points)]),
        max([ridge * 10, *(p[0] for p in points)]),
    )
    low_y, high_y = min([peak / 1000, *(p[1] for p in points)]), peak * 1.5

    def at(x: float, y: float) -> tuple[float, float]:
        fx = (math.log10(x) - math.log10(low_x)) / (math.log10(high_x) - math.log10(low_x))
        fy = (math.log10(y) - math.log10(low_y)) / (math.log10(high_y) - math.log10(low_y))
        return pad + fx * (width - 2 * pad), height - pad - fy * (height - 2 * pad)

    knee, end = at(ridge, peak), at(high_x, peak)
    start = at(max(low_x, low_y / bandwidth), max(low_y, low_x * bandwidth))
    roof = " ".join(f"{x:.1f},{y:.1f}" for x, y in (start, knee, end))
    parts = [
        f'<polyline points="{roof}" fill="none" stroke="#444" stroke-width="1.5"/>',
        f'<text x="{width - pad}" y="{knee[1] - 6:.1f}" text-anchor="end">'
        f"{peak:,.0f} MAC/cycle</text>",
        f'<text x="{width / 2}" y="{height - 8}" text-anchor="middle">'
        f"MAC per DRAM byte (ridge at {ridge:.3g})</text>",
        f'<text x="14" y="{height / 2}" transform="rotate(-90 14 {height / 2})" '
        'text-anchor="middle">MAC per cycle</text>',
    ]
    for x, y, name in points:
        px, py = at(x, max(y, low_y))
        parts.append(
            f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="#2f7d5b" fill-opacity="0.65">'
            f"<title>{escape(name)}: {y:.3g} MAC/cycle at {x:.3g} MAC/byte</title></circle>"
        )
    return _svg(width, height, parts)


def _bar(x: float, y: int, width: float, height: int, fill: str, title: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{fill}">'
        f"<title>{escape(title)}</title></rect>"
    )


def _svg(width: int, height: int, parts: list[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" xmlns="http://www.w3.org/2000/svg" '
        f'font-size="12" fill="#222">{body}</svg>'
    )
