"""What tests of malformed input share: what they expect, and ways to damage."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, cast

from hypothesis import strategies as st

from support.models import tilewright


def assert_refused(*argv: object, about: str = "") -> str:
    """Exit code 2 and one message; returns it."""
    code, _, err = tilewright(*map(str, argv))
    assert code == 2, f"exit code {code}: {err}"
    assert err.count("error:") >= 1 and "Traceback" not in err
    assert about in err
    assert len(err) < 4000
    return err


def assert_harmless(*argv: object) -> int:
    """Success or a refusal, never a crash or a bug report."""
    code, _, err = tilewright(*map(str, argv))
    assert code in (0, 2), err
    assert "Traceback" not in err
    return code


def mutated(original: bytes, data: st.DataObject) -> bytes:
    """Some bytes changed, and perhaps the end lost."""
    out = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        out[data.draw(st.integers(0, len(out) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del out[data.draw(st.integers(0, len(out) - 1)) :]
    return bytes(out)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in nested JSON."""
    out = [at] if at else []
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        items = enumerate(cast("list[Any]", value))
    for key, inner in items:
        out += places(inner, (*at, key))
    return out


def changed(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    """JSON with the value at a path replaced, or removed where `new` is Ellipsis."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[at[-1]]
    else:
        inner[at[-1]] = new
    return copy
