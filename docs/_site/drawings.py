"""Drawings of the attention patterns, from the model's masks: `python docs/_site/drawings.py` writes docs/images."""

from __future__ import annotations

from pathlib import Path

import torch

from hf_jukebox.layers.attention import ATTENTION_CLASSES, AttentionKind, AttentionShape, attention_kinds
from hf_jukebox.presets import PRIOR_PRESETS

IMAGES = Path(__file__).parents[1] / "images"
POSITIONS, ROWS, LYRICS, CELL = 32, 4, 6, 6
NAMES = {
    AttentionKind.ROW: ("row", "#4c78a8"),
    AttentionKind.COLUMN: ("column", "#54a24b"),
    AttentionKind.PREVIOUS_ROW: ("previous-row", "#e4953a"),
    AttentionKind.DENSE: ("dense", "#7b61a8"),
    AttentionKind.LYRICS: ("lyrics", "#d1495b"),
    AttentionKind.JOINT_LYRICS: ("joint-lyrics", "#d1495b"),
}


def pattern(kind: AttentionKind) -> str:
    """Return the mask of a kind of attention as an SVG picture: a line is a position, a column what it may see."""
    lyrics = LYRICS if kind is AttentionKind.JOINT_LYRICS else 0
    shape = AttentionShape(width=8, state=8, heads=1, positions=POSITIONS, rows=ROWS, num_lyrics=lyrics)
    keys = 12 if kind is AttentionKind.LYRICS else POSITIONS
    mask = ATTENTION_CLASSES[kind](shape).mask(POSITIONS, keys, torch.device("cpu"))
    colour, width, height = NAMES[kind][1], keys * CELL, POSITIONS * CELL
    side = CELL - 1
    squares = {True: "", False: ""}
    for i in range(POSITIONS):
        for j in range(keys):
            squares[bool(mask[i, j])] += f"M{j * CELL} {i * CELL}h{side}v{side}h-{side}z"
    cells = [f'<path fill="{colour if seen else "#e6e6e6"}" d="{path}"/>' for seen, path in squares.items()]
    columns = POSITIONS // ROWS
    lines = [
        f'<line x1="0" x2="{width}" y1="{row * columns * CELL - 0.5}" y2="{row * columns * CELL - 0.5}" stroke="#888"/>'
        for row in range(1, ROWS)
    ]
    if kind is AttentionKind.JOINT_LYRICS:
        x = LYRICS * CELL - 0.5
        lines.append(f'<line x1="{x}" x2="{x}" y1="0" y2="{height}" stroke="#222" stroke-dasharray="3 2"/>')
    return _svg(width - 1, height - 1, [*cells, *lines])


def layers() -> str:
    """Return the kinds of the layers of the released priors, one line per prior."""
    parts, step, left = [], 8, 130
    for line, name in enumerate(["upsampler_level_0", "prior_5b", "prior_5b_lyrics", "prior_1b_lyrics"]):
        preset = PRIOR_PRESETS[name]
        y = line * 22
        parts.append(f'<text x="0" y="{y + 12}" fill="#222">{name}</text>')
        for layer, kind in enumerate(attention_kinds(preset["attention_order"], preset["num_hidden_layers"])):
            parts.append(
                f'<rect x="{left + layer * step}" y="{y}" width="{step - 1}" height="16" fill="{NAMES[kind][1]}"/>'
            )
    x, y = left, 4 * 22 + 6
    for name, colour in dict.fromkeys((name.replace("joint-", ""), colour) for name, colour in NAMES.values()):
        parts.append(f'<rect x="{x}" y="{y}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{x + 14}" y="{y + 9}" fill="#222">{name.replace("-", " ")}</text>')
        x += 100
    return _svg(left + 79 * step, y + 16, parts)


def _svg(width: float, height: float, parts: list[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {width + 8} {height + 8}" width="{width + 8}" '
        f'height="{height + 8}" font-family="sans-serif" font-size="12">'
        f'<rect x="-4" y="-4" width="{width + 8}" height="{height + 8}" fill="#fff"/>' + "".join(parts) + "</svg>\n"
    )


def drawings() -> dict[str, str]:
    """Return the text of every picture by its file name."""
    return {f"attention-{name}.svg": pattern(kind) for kind, (name, _) in NAMES.items()} | {
        "attention-layers.svg": layers()
    }


if __name__ == "__main__":
    for name, text in drawings().items():
        (IMAGES / name).write_text(text, encoding="utf-8")
