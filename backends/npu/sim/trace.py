"""Export of a schedule to the trace event format that Perfetto and chrome://tracing open.

One group of tracks per core: one track per unit with a slice per command, named by instruction and
layer; a second track per unit with the reasons of its waiting; a counter of DRAM bandwidth in use.
Times are in microseconds of the machine's clock, as the format demands; cycles stand in the
arguments.

    {"ph": "X", "pid": 1, "tid": 3, "ts": 0.16, "dur": 0.064, "name": "matmul conv1", "args": {...}}

Format: "Trace Event Format" (Google), JSON object form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....dialects.npu.isa import QUEUES
from ...targets.machine import Machine
from .costs import Cost
from .counters import Gap
from .expand import Expansion
from .timing import Schedule

Event = dict[str, Any]


def trace_events(
    expansion: Expansion,
    costs: Sequence[Cost],
    s: Schedule,
    idle: Sequence[Sequence[Gap]],
    machine: Machine,
) -> dict[str, Any]:
    """The trace as a JSON-serialisable object."""
    us = 1e6 / machine.clock_hz
    events: list[Event] = []
    for core in range(expansion.cores):
        pid = core + 1
        who = f"NPU {machine.name}" + (f" core {core}" if expansion.cored else "")
        events.append(_meta("process_name", pid, 0, who))
        events.append(_meta("thread_name", pid, 1, "control"))
        for u, queue in enumerate(QUEUES):
            for tid, name in ((2 * u + 2, queue.value), (2 * u + 3, f"{queue.value} stalls")):
                events += [
                    _meta("thread_name", pid, tid, name),
                    {**_meta("thread_sort_index", pid, tid, ""), "args": {"sort_index": tid}},
                ]
    names = [" + ".join(layer) or f"#{i}" for i, layer in enumerate(expansion.layers)]
    step = [0] * len(expansion.sites)
    for c, x in enumerate(expansion.site):
        pid = c // expansion.per_core + 1
        site, i = expansion.sites[x], step[x]
        step[x] += 1
        layer = site.instruction.layer
        mnemonic = site.instruction.mnemonic
        args = {
            "layer": names[layer] if layer < len(names) else f"#{layer}",
            "instruction": site.index,
            "iteration": list(site.inside(i)),
            "issued": s.issue[c],
            "accepted": s.accept[c],
            "start": s.start[c],
            "end": s.end[c],
            "completed": s.complete[c],
            "bank_stall": s.bank[c] + costs[c].own_bank,
            "dram_stall": s.dram[c],
        }
        name = f"{mnemonic} {args['layer']}"
        if s.network[c]:
            args["network_stall"] = s.network[c]
        track = (pid, 2 * site.queue + 2)
        events.append(_slice(track, name, mnemonic, s.start[c], s.end[c], us, args))
        if s.issue[c] > s.ready[c]:
            what = f"queue full: {QUEUES[site.queue].value}"
            held = (s.ready[c], s.issue[c])
            events.append(_slice((pid, 1), what, "stall", *held, us, {"command": name}))
    for u, row in enumerate(idle):
        core, queue = divmod(u, len(QUEUES))
        events += [
            _slice((core + 1, 2 * queue + 3), g.kind, "stall", g.start, g.end, us, {})
            for g in row
            if g.kind != "idle"
        ]
    events += _bandwidth(costs, s, us, machine)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {"machine": machine.name, "cycles": s.cycles},
    }


def _meta(what: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "pid": pid, "tid": tid, "name": what, "args": {"name": name}}


def _slice(
    track: tuple[int, int], name: str, category: str, start: int, end: int, us: float, args: Event
) -> Event:
    ts, dur = round(start * us, 6), round((end - start) * us, 6)
    return {
        "ph": "X",
        "pid": track[0],
        "tid": track[1],
        "ts": ts,
        "dur": dur,
        "name": name,
        "cat": category,
        "args": args,
    }


def _bandwidth(costs: Sequence[Cost], s: Schedule, us: float, machine: Machine) -> list[Event]:
    """DRAM bytes a cycle at every change, averaged over each transfer."""
    changes: dict[int, float] = {0: 0.0}
    for c, cost in enumerate(costs):
        if cost.bursts and s.end[c] > s.start[c]:
            rate = cost.bursts * machine.dram.burst_bytes / (s.end[c] - s.start[c])
            changes[s.start[c]] = changes.get(s.start[c], 0.0) + rate
            changes[s.end[c]] = changes.get(s.end[c], 0.0) - rate
    events: list[Event] = []
    level = 0.0
    for t in sorted(changes):
        level += changes[t]
        used = max(round(level, 3), 0.0)
        events.append(
            {
                "ph": "C",
                "pid": 1,
                "tid": 0,
                "ts": round(t * us, 6),
                "name": "DRAM bytes/cycle",
                "args": {"bytes": used},
            }
        )
    return events
