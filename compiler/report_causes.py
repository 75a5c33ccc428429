"""Why a layer uses the machine badly: causes from what the simulator counted, and remedies.

While a layer holds up the program (its exclusive cycles), the unit that is occupied for half of the
time or more sets the pace, and the cause is in what it does: the array with rows or columns left
over, the vector unit with depthwise convolutions or requantisation, DMA with weights that are used
once.  If no unit is, the cause is what they wait for.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

from ..backends.targets.cycles import reduction_cycles
from ..backends.targets.machine import Machine
from ..dialects.sparsity import compressed_bytes
from .report_array import array
from .report_evidence import FULL, UNITS, Cause, Evidence, Shape

PACE = 0.5
"""Share of a layer's cycles from which on a unit sets its pace."""
NOTABLE = 0.25
"""Share of a layer's cycles from which on a stall is named as the cause."""


def explain(e: Evidence, machine: Machine) -> Cause:
    """The cause of a layer's low utilisation."""
    unit = e.pacing
    banks = {u: e.stall(u, "bank") for u in UNITS}
    if max(banks.values()) >= NOTABLE:
        return _banks(e, machine, max(banks, key=lambda u: banks[u]))
    if e.occupied[unit] >= PACE * e.cycles:
        of: dict[str, Callable[[Evidence, Machine], Cause]] = {"matrix": array, "vector": _vector}
        return of.get(unit, _dram)(e, machine)
    return _waiting(e, machine, unit)


def _banks(e: Evidence, machine: Machine, unit: str) -> Cause:
    spm = machine.scratchpad
    width = f"an access takes {spm.width} bytes of a row, and a bank serves {spm.ports} a cycle"
    n = e.shape.n if e.shape else 0
    text = f"{unit} spends {e.stall(unit, 'bank'):.0%} of the time on conflicts for banks; {width}"
    if n % spm.width:
        whole = -(-n // spm.width) * spm.width
        return Cause(
            "bank conflicts",
            f"{text}: rows of {n} channels take {-(-n // spm.width)}",
            f"{whole} channels, the next multiple of {spm.width}, which take no more accesses",
            {"output_channels": whole},
            e.cycles,
            whole / n,
        )
    return Cause(
        "bank conflicts",
        text,
        "channels in multiples of the width of a bank; smaller tensors, so that what is used at "
        "the same time lies in different banks",
    )


_VECTOR = {
    "vrequant": "requantisation", "vadd": "addition", "vmul": "multiplication",
    "vlut": "a table look-up", "vmax": "maxima over windows", "vsum": "sums over windows",
    "vsquare": "sums of squares", "vsumexp": "softmax", "vexp": "softmax",
    "vnorm": "normalisation", "vrecip": "reciprocals", "vrsqrt": "reciprocal roots",
    "vclip": "movement within the scratchpad", "vfill": "filling",
    "vwide": "widening",
}  # fmt: skip


def _vector(e: Evidence, machine: Machine) -> Cause:
    unit, s = machine.vector, e.shape
    spent = {k: n for k, n in e.work.items() if k.startswith("v")}
    if not spent:
        return Cause("vector unit", "it sets the pace", "fewer elements")
    name = max(spent, key=lambda k: spent[k])
    share = f"{spent[name]:,} of {e.busy['vector']:,} busy cycles"
    if name == "vmac":
        return _depthwise(e, machine, share)
    what = _VECTOR.get(name, name)
    text = f"{what} ({name}) takes {share}: {unit.lanes} elements in {unit.cost(name):g}"
    if s is not None and s.n % unit.lanes and s.n > unit.lanes / FULL:
        text += f" cycles; {s.n} channels leave {s.n % unit.lanes} for the last group"
    else:
        text += " cycles"
    if s is not None and s.kind == "matmul" and (enough := _free_channels(e, s, machine)):
        return Cause(
            f"vector-bound: {what}",
            f"{text}; sums of {s.k} terms take the array {e.busy['matrix']:,}",
            f"up to {enough} input channels instead of {s.channels} cost no more vector work; "
            "fewer output channels: cycles fall in proportion",
            {"input_channels": enough},
            e.cycles,
            enough / s.channels,
        )
    windows = s is not None and s.kind == name and s.taps > 1
    less = "smaller windows or a larger stride" if windows else "fewer positions or channels"
    return Cause(
        f"vector-bound: {what}",
        text,
        f"{less}: cycles fall in proportion; a target with more `lanes`",
    )


def _free_channels(e: Evidence, s: Shape, machine: Machine) -> int:
    """Input channels for which the array takes no longer than the vector unit; 0: no more."""
    size = machine.unit(e.sparse).rows
    passes = -(-s.k // size)
    if machine.matrix.dataflow == "output-stationary":
        passes, size = s.k, 1
    longer = e.busy["vector"] / max(1, e.busy["matrix"])
    enough = int(passes * longer + 1e-9) * size // s.taps
    return enough if enough > s.channels else 0


def _depthwise(e: Evidence, machine: Machine, share: str) -> Cause:
    unit, matrix, s = machine.vector, machine.matrix, e.shape
    text = (
        f"products without a sum over channels (vmac) take {share}: {unit.lanes} lanes do "
        f"{unit.lanes / unit.mac:g} multiply-accumulates a cycle, the array {matrix.macs_per_cycle}"
    )
    if s is None or s.kind != "vmac":
        return Cause("depthwise on the vector unit", text, "an ordinary convolution")
    rest = s.n % unit.lanes
    if s.n > rest > 0 and unit.groups(s.m, s.n) * unit.lanes * FULL > s.m * s.n:
        fewer, all_ = (reduction_cycles(unit, "vmac", s.m, s.k, n) for n in (s.n - rest, s.n))
        predicted = ceil(e.cycles - e.occupied["vector"] * (1 - fewer / all_))
        return Cause(
            "depthwise on the vector unit",
            f"{text}; {s.n} channels leave {rest} for the last group of {unit.lanes} lanes",
            f"{s.n - rest} channels: about {predicted:,} cycles instead of {e.cycles:,}",
            {"channels": s.n - rest},
            predicted,
            (s.n - rest) / s.n,
        )
    passes = -(-s.n // matrix.columns) * -(-s.n * s.taps // matrix.rows)
    dense = passes * ceil(s.m / matrix.pixels) / machine.cores
    predicted = ceil(max(e.cycles - e.occupied["vector"] + dense, dense))
    if predicted < FULL * e.cycles:
        return Cause(
            "depthwise on the vector unit",
            text,
            f"an ordinary convolution of {s.n} channels (group = 1): about {predicted:,} cycles on "
            f"the array instead of {e.cycles:,}, though it multiplies {s.n} times as much",
            {"group": 1},
            predicted,
            s.n,
        )
    return Cause(
        "depthwise on the vector unit",
        text,
        "fewer taps, or a larger stride: cycles fall in proportion (an ordinary convolution would "
        f"take about {predicted:,}); a target whose array takes windows (`window_channels`)",
    )


def _dram(e: Evidence, machine: Machine) -> Cause:
    row, dram, s = e.row, machine.dram, e.shape
    in_flight = dram.outstanding_reads * dram.burst_bytes / max(dram.read_latency, 1)
    limits = {
        "DRAM": dram.bytes_per_cycle,
        "DMA": machine.dma_bytes_per_cycle,
        f"{dram.outstanding_reads} reads in flight": in_flight,
    }
    limit = min(limits, key=lambda name: limits[name])
    rate = limits[limit] * machine.cores
    moved, weights = row["dram_bytes"], row.get("weight_bytes", 0)
    text = (
        f"{moved:,} bytes, of which {weights:,} are weights, at {rate:.4g} bytes a cycle ({limit})"
    )
    bus = row.get("bus_bytes", 0)
    if bus * FULL > moved and s is not None:
        return Cause(
            "short DRAM bursts",
            f"{text}; in bursts of {dram.burst_bytes} bytes they are {bus:,}",
            f"channels in multiples of {dram.burst_bytes}: rows that begin and end with a burst",
        )
    if 2 * weights >= moved and s is not None and s.kind == "matmul":
        stored = max(1, compressed_bytes(s.k * s.n)) if e.sparse else s.k * s.n
        loaded = weights / (s.batch * stored)
        if loaded > 1 / FULL:
            return _reloaded(s, machine, f"{text}: each of them {loaded:.2g} times")
        # Positions whose products take the array, zeros skipped, as long as the weights DRAM.
        terms = machine.unit(e.sparse).rows / machine.matrix.rows
        ridge = machine.peak_macs_per_cycle / rate * terms * stored / (s.k * s.n)
        batch = ceil(ridge / s.m)
        uses = "once (a matrix by a vector)" if s.m == 1 else f"for {s.m:,} positions"
        if batch > 1:
            why = f"{text}; each weight is used {uses}, {ridge:,.0f} would keep the array busy"
            return e.more_samples("DRAM-bound: weights", why, batch, machine)
    needed, spm = row["compulsory_bytes"], machine.scratchpad.bytes
    if moved * FULL > max(needed, 1):
        both = ""
        change = dict[str, int]()
        if s is not None and s.m * s.n > spm // 2:  # input and output side by side
            change["positions"] = max(1, spm // 2 // s.n)
            both = f"to about {change['positions']:,}"
        return Cause(
            "DRAM-bound: tensors do not stay on chip",
            f"{text}; {needed:,} are the network's own inputs, outputs and weights, the rest "
            "comes back from DRAM or leaves for it",
            f"fewer positions or channels{both and f' ({both} positions)'}, so that the layer's "
            f"input and output fit {spm:,} bytes of scratchpad together",
            change,
        )
    return Cause(
        "DRAM-bound: activations",
        text,
        "fewer positions: bytes fall in proportion; more multiply-accumulates a byte "
        f"(the array does {machine.peak_macs_per_cycle / rate:.3g}) cost nothing",
    )


def _reloaded(s: Shape, machine: Machine, text: str) -> Cause:
    """Weights come back from DRAM for one block of positions after the other."""
    spm = machine.scratchpad.bytes
    positions = spm // 2 // s.k
    change = {"positions": positions} if 0 < positions < s.m else dict[str, int]()
    fewer = f"{positions:,} positions instead of {s.m:,}" if change else "fewer positions"
    return Cause(
        "DRAM-bound: weights loaded again",
        f"{text}, for neither {s.k} x {s.n} weights nor {s.m} x {s.k} activations fit half of the "
        f"{spm:,} bytes of scratchpad",
        f"{fewer}, or fewer channels: either operand stays, and each byte crosses once",
        change,
    )


def _waiting(e: Evidence, machine: Machine, unit: str) -> Cause:
    """No unit is at work for half of the time."""
    others = {u: e.stall(u, "other") for u in UNITS}
    busiest = max(others, key=lambda u: others[u])
    if others[busiest] >= max(PACE, e.occupied[unit] / e.cycles):
        return Cause(
            "waits for another layer",
            f"{busiest} works for others in {others[busiest]:.0%} of its {e.cycles:,} cycles",
            f"less {busiest} work in the layers beside it",
        )
    if e.stall(unit, "fetch") >= NOTABLE:
        commands = e.row["commands"]
        c = machine.control
        config = f", {c.config_cycles} more to configure a unit" if c.config_cycles else ""
        return Cause(
            "bound by issue of commands",
            f"{unit} waits for the next of {commands:,} commands for {e.stall(unit, 'fetch'):.0%} "
            f"of the time; each takes {c.issue_cycles} cycles or its bytes at "
            f"{c.fetch_bytes_per_cycle:g} a cycle{config}",
            "extents in whole multiples of "
            f"{machine.unit(e.sparse).rows} x {machine.matrix.columns}: fewer, larger commands",
        )
    if e.stall("matrix", "preload") >= NOTABLE and e.shape is not None:
        m, of = e.shape.m, machine.unit(e.sparse)
        batch = max(2, ceil(min(e.shape.k, of.rows) / of.preload_rows * of.pixels / m))
        return e.more_samples(
            "few positions",
            f"the array spends {e.stall('matrix', 'preload'):.0%} of the time loading weights, "
            f"each of which is used {'once' if m == 1 else f'for {m} positions'}",
            batch,
            machine,
        )
    fixed = {
        "DRAM latency": max(e.stall(u, "latency") for u in UNITS),
        "draining the array": e.stall("matrix", "drain"),
        "waiting for loads": max(e.stall(u, "wait_load") for u in UNITS),
        "waiting for sums": max(e.stall(u, "wait_matrix") for u in UNITS),
        "waiting for the vector unit": max(e.stall(u, "wait_vector") for u in UNITS),
        "waiting for stores": max(e.stall(u, "wait_store") for u in UNITS),
        "a full queue": e.stall(unit, "queue_full"),
    }
    named = [k for k in sorted(fixed, key=lambda k: -fixed[k]) if fixed[k] >= 0.1][:3]
    waits = ", ".join(f"{k} {fixed[k]:.0%}" for k in named)
    if sum(e.occupied.values()) >= FULL * e.cycles:
        units = ", ".join(
            f"{u} {e.occupied[u] / e.cycles:.0%}"
            for u in sorted(UNITS, key=lambda u: -e.occupied[u])
            if e.occupied[u] >= 0.05 * e.cycles
        )
        return Cause(
            "units take turns",
            f"of the time is work {units}, one after the other: {waits}",
            "fewer positions or output channels, so that more tiles of sums fit the "
            f"{machine.accumulator.bytes:,} bytes of accumulators and the units overlap",
        )
    work = sum(e.occupied.values())
    return Cause(
        "latency-bound: too little work",
        f"{work:,.0f} cycles of work in {e.cycles:,}, most of it {unit}'s; the rest is latency"
        + (f": {waits}" if waits else ""),
        "larger layers or several samples at once (batch), which hide the latencies of DRAM "
        f"({machine.dram.read_latency} and {machine.dram.write_latency} cycles) and units",
    )
