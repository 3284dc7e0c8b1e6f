"""Bars of one figure per case as inline SVG: text in, text out, no script. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 960, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 12, 24
_FAR = 8  # a limit that is so many times higher would make every bar flat
_MOST_BARS = 480  # of more cases, neighbours share a bar that is as high as the highest of them


@dataclass(frozen=True, slots=True)
class Bar:
    """A case: its name, its value, its verdict (a class of the style sheet)."""

    name: str
    value: float
    kind: str


def bars(items: Sequence[Bar], *, title: str, unit: str, limit: float | None = None) -> str:
    """An `<svg>` with a bar for each item and a line for the limit; "" for no items. Everything that is a name is escaped."""
    if not items:
        return ""
    shown = _joined(items)
    highest = max(item.value for item in shown)
    far = limit is not None and highest < limit / _FAR
    top = (max(highest, limit) if limit and not far else highest) * 1.08 or 1.0
    inner, room = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    step = inner / len(shown)
    words = escape(_summary(items, title, unit, limit))
    parts = [f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{words}">']
    for tick in _ticks(top):
        y = _TOP + room * (1 - tick / top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for number, item in enumerate(shown):
        height = max(room * item.value / top, 0.5)
        place = f'x="{_LEFT + number * step + step * 0.1:.2f}" y="{_TOP + room - height:.2f}"'
        parts.append(
            f'<rect class="bar {escape(item.kind)}" {place} width="{step * 0.8:.2f}" height="{height:.2f}">'
            f"<title>{escape(item.name)}: {item.value:.4g} {escape(unit)}, {escape(item.kind)}</title></rect>"
        )
    if limit and far:
        words = f"the limit of {limit:g} {escape(unit)} is far above"
        parts.append(f'<text class="tick" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{words}</text>')
    elif limit:
        y = _TOP + room * (1 - limit / top)
        parts.append(f'<line class="limit" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_WIDTH - _RIGHT}" y="{y - 4:.1f}" text-anchor="end">limit {limit:g} {escape(unit)}</text>'
        )
    parts.append(f'<text class="tick" x="{_LEFT}" y="{_HEIGHT - 6}">cases in order</text>')
    parts.append(f'<text class="tick" x="4" y="{_HEIGHT - 6}">{escape(unit)}</text></svg>')
    return "".join(parts)


def _summary(items: Sequence[Bar], title: str, unit: str, limit: float | None) -> str:
    """The plot in words, for who cannot see it."""
    highest = max(items, key=lambda item: item.value)
    bound = f", the limit is {limit:g} {unit}" if limit else ""
    return f"{title}: {len(items)} cases, the highest is {highest.value:.4g} {unit} in {highest.name}{bound}"


def _joined(items: Sequence[Bar]) -> list[Bar]:
    if len(items) <= _MOST_BARS:
        return list(items)
    size = -(-len(items) // _MOST_BARS)
    parts = [items[start : start + size] for start in range(0, len(items), size)]
    return [max(part, key=lambda item: item.value) for part in parts]


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to `top`, three to six of them."""
    step = 10.0**-12
    while top / step > 10:
        step *= 10
    for factor in (0.2, 0.5, 1.0, 2.0):
        if top / (step * factor) <= 5:
            return [step * factor * number for number in range(int(top / (step * factor)) + 1)]
    return [0.0, top]
