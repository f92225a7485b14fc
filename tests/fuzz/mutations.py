"""Strategies for malformed files: good ones with some bytes, or some values of their JSON, changed."""

from __future__ import annotations

import copy
import json
import struct
from typing import Any

from hypothesis import strategies as st

INTEGERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    255,
    256,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    10**30,
    -(2**63),
]
FLOATS = [0.0, -0.5, 1e-300, 1e300, float("nan"), float("inf"), -float("inf")]
TEXTS = [
    "",
    "a",
    "0",
    "../../evil",
    "/etc/passwd",
    "..",
    ".",
    "a/b",
    "\0",
    "\ud800",
    "é\u2028",
    "null",
    "-1",
    "x" * 5000,
]

scalars = st.one_of(
    st.sampled_from(INTEGERS), st.integers(), st.sampled_from(FLOATS), st.sampled_from(TEXTS), st.text(max_size=20)
) | st.sampled_from([None, True, False])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(TEXTS[:8]) | st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
deep = st.sampled_from([50, 2000, 200_000]).map(lambda depth: b"[" * depth + b"]" * depth)
_bits = st.binary(min_size=0, max_size=16)
_words = st.sampled_from(INTEGERS).map(lambda n: struct.pack("<Q", n % 2**64)) | st.sampled_from(INTEGERS).map(
    lambda n: struct.pack(">I", n % 2**32)
)


@st.composite
def mutated_bytes(draw: st.DrawFn, good: bytes, header: int = 128) -> bytes:
    """Make one to six changes to a file, half of them in its header."""
    content = bytearray(good)
    for _ in range(draw(st.integers(1, 6))):
        end = min(header, len(content)) if draw(st.booleans()) else len(content)
        at = draw(st.integers(0, max(0, end)))
        match draw(st.sampled_from(["bits", "word", "insert", "delete", "cut", "repeat", "zeros"])):
            case "bits":
                new = draw(_bits)
                content[at : at + len(new)] = new
            case "word":
                new = draw(_words)
                content[at : at + len(new)] = new
            case "insert":
                content[at:at] = draw(_bits)
            case "delete":
                del content[at : at + draw(st.integers(1, 64))]
            case "cut":
                del content[at:]
            case "repeat":
                content[at:at] = content[at : at + draw(st.integers(1, 512))]
            case "zeros":
                content[at:at] = bytes(draw(st.integers(1, 4096)))
    return bytes(content)


def _places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(each for key, part in inner for each in _places(part, (*place, key)))]


def _replace(content: Any, place: tuple[Any, ...], change: Any) -> Any:
    if not place:
        return change(content)
    holder = content
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = change(holder[place[-1]])
    return content


@st.composite
def mutated_value(draw: st.DrawFn, good: Any) -> Any:
    """Replace, leave out, double or add one to three parts of a JSON value."""
    content = copy.deepcopy(good)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_places(content)))
        match draw(st.sampled_from(["replace", "remove", "add", "double"])):
            case "remove" if place:
                holder = content
                for key in place[:-1]:
                    holder = holder[key]
                del holder[place[-1]]
            case "add":
                key, new = draw(st.sampled_from(TEXTS) | st.text(max_size=8)), draw(values)

                def add(part: Any, key: str = key, new: Any = new) -> Any:
                    return (
                        part | {key: new} if isinstance(part, dict) else [*part, new] if isinstance(part, list) else new
                    )

                content = _replace(content, place, add)
            case "double":
                content = _replace(
                    content, place, lambda part: part * 2 if isinstance(part, list | str) else [part, part]
                )
            case _:
                new = draw(values)
                content = _replace(content, place, lambda part, new=new: new)
    return content


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


def mutated_json(good: Any) -> st.SearchStrategy[bytes]:
    """Change values or bytes of a JSON file, or nest values very deeply."""
    return st.one_of(
        mutated_value(good).map(as_json), mutated_value(good).map(as_json), mutated_bytes(as_json(good)), deep
    )


@st.composite
def mutated_safetensors(draw: st.DrawFn, good: bytes) -> bytes:
    """Change values in the header of a safetensors file, with the right or a wrong length, or its bytes."""
    length = int.from_bytes(good[:8], "little")
    if draw(st.booleans()):
        return draw(mutated_bytes(good, 8 + length))
    header = as_json(draw(mutated_value(json.loads(good[8 : 8 + length]))))
    stated = draw(st.just(len(header)) | st.sampled_from(INTEGERS))
    return (stated % 2**64).to_bytes(8, "little") + header + good[8 + length :]


def mutated_text(good: str) -> st.SearchStrategy[bytes]:
    """Change bytes of a text file, add arbitrary lines, or encode it otherwise."""
    lines = st.lists(st.sampled_from(good.split("\n")) | st.text(max_size=30), max_size=12)
    joined = st.tuples(lines, st.sampled_from(["\n", "\r\n", "\r", "\u2028"])).map(lambda pair: pair[1].join(pair[0]))
    encoded = st.tuples(joined, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])).map(
        lambda pair: pair[0].encode(pair[1], "replace")
    )
    return st.one_of(encoded, mutated_bytes(good.encode()), st.binary(max_size=200))
