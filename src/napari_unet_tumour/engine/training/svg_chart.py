"""A line chart as inline SVG."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 620, 220, 60, 24, 24
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def chart(
    title: str, x: Sequence[float], lines: Mapping[str, Sequence[float]], bounds: tuple[float, float] | None = None
) -> str:
    """Draw named lines over x.

    Parameters
    ----------
    lines : mapping of str to sequence of float
        As long as `x`; values that are not finite leave a gap.
    bounds : tuple of float, optional
        Lowest and highest y; those of the values by default.
    """
    known = [v for values in lines.values() for v in values if math.isfinite(v)] or [0.0]
    low, high = bounds or (min(known), max(known))
    high = high if high > low else low + (abs(low) or 1.0)
    parts = [_axis(title, x, low, high)]
    for n, (name, values) in enumerate(lines.items()):
        colour = COLOURS[n % len(COLOURS)]
        points = " ".join(_point(a, b, x, low, high) for a, b in zip(x, values, strict=True) if math.isfinite(b))
        mark = (
            ""
            if len(x) > 1
            else f'<circle cx="{points.split(",")[0]}" cy="{points.split(",")[-1]}" r="3" fill="{colour}"/>'
        )
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>{mark}')
        parts.append(f'<text x="{LEFT + 90 + 110 * n}" y="15" fill="{colour}">{escape(name)}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-size="12">{"".join(parts)}</svg>'


def _axis(title: str, x: Sequence[float], low: float, high: float) -> str:
    right, floor = WIDTH - 10, HEIGHT - BOTTOM
    text = f'<text x="0" y="15" font-weight="bold">{escape(title)}</text>'
    for value, y in ((high, TOP), (low, floor)):
        text += f'<line x1="{LEFT}" x2="{right}" y1="{y}" y2="{y}" stroke="#ccc"/>'
        text += f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{value:.3g}</text>'
    first, last = (f"{x[0]:g}", f"{x[-1]:g}") if x else ("", "")
    text += f'<text x="{LEFT}" y="{HEIGHT - 6}">{first}</text>'
    return text + f'<text x="{right}" y="{HEIGHT - 6}" text-anchor="end">pass {last}</text>'


def _point(a: float, b: float, x: Sequence[float], low: float, high: float) -> str:
    across = (a - x[0]) / max(x[-1] - x[0], 1e-12)
    up = min(max((b - low) / (high - low), 0.0), 1.0)
    return f"{LEFT + across * (WIDTH - 10 - LEFT):.1f},{HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP):.1f}"
