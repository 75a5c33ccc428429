"""Programs in artefacts: compiled regions, whose members are stored once by contents.

Regions of the same nodes for other shapes share their weights:

    regions/KEY.json                  manifest of the region; member name -> blob
    blobs/DIGEST.bin                  members of all regions
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from ...dialects.errors import ArtefactError
from ..artefact import Artefact, digest

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
            members = {str(n): files[b] for n, b in entry["files"].items()}
            store[name.removeprefix(REGIONS).removesuffix(".json")] = Artefact(
                dict(entry["manifest"]), members
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(f"member {name} of the program is damaged: {error}") from None
    return store
