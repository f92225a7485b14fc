"""Curves of a training run as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

_SIZE = (800, 360)
_MARGIN = (64, 16, 16, 40)  # left, top, right, bottom
_COLORS = ("#3465a4", "#c4422b", "#4e9a06", "#75507b")
_INK, _GRID = "#333333", "#dddddd"
_LINES = 5  # of the grid

Curve = Sequence[tuple[int, float]]


def draw_curves(path: Path, curves: Mapping[str, Curve]) -> None:
    """Draw curves, each points (step, value) in ascending order, as a PNG with axes and a legend.

    Raises:
        OSError: the file cannot be written.
    """
    points = [point for curve in curves.values() for point in curve]
    steps, values = [step for step, _ in points], [value for _, value in points]
    low, high = min(values), max(values)
    if high == low:
        low, high = low - 0.5, high + 0.5
    first, last = min(steps), max(max(steps), min(steps) + 1)
    left, top, right, bottom = _MARGIN
    width, height = _SIZE[0] - left - right, _SIZE[1] - top - bottom

    def place(step: int, value: float) -> tuple[float, float]:
        return left + (step - first) / (last - first) * width, top + (high - value) / (high - low) * height

    image = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(image)
    for line in range(_LINES):
        share = line / (_LINES - 1)
        x, y = left + share * width, top + share * height
        draw.line([(left, y), (left + width, y)], fill=_GRID)
        draw.text((left - 6, y), f"{high - share * (high - low):.4g}", fill=_INK, anchor="rm")
        draw.text((x, top + height + 6), f"{round(first + share * (last - first))}", fill=_INK, anchor="mt")
    for number, (name, curve) in enumerate(curves.items()):
        color = _COLORS[number % len(_COLORS)]
        places = [place(step, value) for step, value in curve]
        draw.line(places, fill=color, width=2)
        for x, y in places if len(places) < 50 else []:
            draw.ellipse([(x - 2, y - 2), (x + 2, y + 2)], fill=color)
        draw.text((left + 10 + 190 * number, _SIZE[1] - 12), name, fill=color, anchor="lm")
    draw.text((left + width, _SIZE[1] - 12), "step", fill=_INK, anchor="rm")
    image.save(path, format="PNG")
