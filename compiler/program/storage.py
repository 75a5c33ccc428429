"""Programs in artefacts: compiled regions, whose members are stored once by contents.

Regions of the same nodes for other shapes share their weights:

    regions/KEY.json                  manifest of the region; member name -> blob
    blobs/DIGEST.bin                  members of all regions
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from ...dialects.errors import ArtefactError
from ..artefact import Artefact, digest
from ..manifest import fail, integer, items, number, table, texts
from ..tensors import Bounds, TensorInfo

REGIONS, BLOBS = "regions/", "blobs/"


def pack_regions(store: Mapping[str, Artefact]) -> dict[str, bytes]:
    """Members of the program's artefact that hold the regions in `store`."""
    files: dict[str, bytes] = {}
    for key, region in store.items():
        members: dict[str, str] = {}
        for name, data in region.files.items():
            members[name] = f"{BLOBS}{digest(data)}{PurePosixPath(name).suffix}"
            files[members[name]] = data
        entry = {"manifest": region.manifest, "files": members}
        files[f"{REGIONS}{key}.json"] = json.dumps(entry, sort_keys=True, indent=1).encode()
    return files


def unpack_regions(files: Mapping[str, bytes]) -> dict[str, Artefact]:
    """The regions in a program's members; ArtefactError if they do not fit together."""
    store: dict[str, Artefact] = {}
    for name, data in files.items():
        if not name.startswith(REGIONS):
            continue
        try:
            entry: Any = json.loads(data)
            if not all(b.startswith(BLOBS) for b in entry["files"].values()):
                raise KeyError("a member that is no blob")
            members = {str(n): files[b] for n, b in entry["files"].items()}
            store[name.removeprefix(REGIONS).removesuffix(".json")] = Artefact(
                dict(entry["manifest"]), members
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ArtefactError(f"member {name} of the program is damaged: {error}") from None
    return store


def read_plan(
    data: bytes, learned: dict[str, Mapping[str, Any]], ranges: dict[str, Sequence[float]]
) -> None:
    """Add what plan.json holds to `learned` and `ranges`; ArtefactError if it is damaged."""
    try:
        plan = table(json.loads(data), "plan.json")
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"plan.json of the program is damaged: {error}") from None
    for digest_, entry in table(plan.get("learned", {}), "learned").items():
        known = table(entry, "learned")
        hosts = items(known.get("hosts"), "learned.hosts")
        learned[digest_] = {
            "bound": texts(known.get("bound"), "learned.bound"),
            "unbindable": texts(known.get("unbindable"), "learned.unbindable"),
            "hosts": [integer(h, "learned.hosts") for h in hosts],
        }
    for name, entry in table(plan.get("ranges", {}), "ranges").items():
        pair = items(entry, "ranges")
        if len(pair) != 2:
            raise fail(f"ranges of {name!r}", pair, "two numbers")
        ranges[name] = [number(p, f"ranges of {name!r}") for p in pair]


def read_bounds(value: Any, inputs: Sequence[TensorInfo]) -> dict[str, Bounds]:
    """Bounds of open dimensions by input; ArtefactError if they do not fit the inputs."""
    ranks = {i.name: len(i.shape) for i in inputs}
    found: dict[str, Bounds] = {}
    for name, entry in table(value, "bounds").items():
        pairs = [None if b is None else items(b, "bounds") for b in items(entry, "bounds")]
        if len(pairs) != ranks.get(name) or any(b is not None and len(b) != 2 for b in pairs):
            raise fail(f"bounds of {name!r}", entry, "a pair for each dimension")
        found[name] = [
            None if b is None else [integer(n, "bounds", most=1 << 100) for n in b] for b in pairs
        ]
    return found
