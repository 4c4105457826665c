"""Delay against false cut-offs as a picture: a curve a family of policies. Plain SVG that reads on light and dark."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 24, 56

COLOURS = ("#3b82c4", "#d9822b", "#3f9c5a", "#a35bb5")
"""Of middle lightness: they stand out from white and from near black alike."""

GREY = "#808080"


@dataclass(frozen=True)
class Point:
    """One policy: its median delay in milliseconds, and its false cut-offs in per cent."""

    name: str
    family: str
    delay_ms: float
    cut_percent: float


def draw(points: Sequence[Point], path: Path) -> None:
    """Write the picture."""
    path.write_text(svg(points), encoding="utf-8")


def svg(points: Sequence[Point]) -> str:
    """The picture. Families of more than one point that are named "fixed ..." are joined by a line."""
    right = _round_up(max(p.delay_ms for p in points), 200)
    top = _round_up(max(p.cut_percent for p in points), 5)
    families = _families(points)
    body = [*_grid(right, top)]
    for number, (family, some) in enumerate(families.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(_x(p.delay_ms, right), _y(p.cut_percent, top)) for p in some]
        if family.startswith("fixed"):
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            body.append(
                f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
            )
        for point, (x, y) in zip(some, places, strict=True):
            title = f"{point.name}: {point.delay_ms:.0f} ms, {point.cut_percent:.1f} %"
            body.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"><title>{escape(title)}</title></circle>'
            )
            if family.startswith("fixed"):
                body.append(_text(x + 8, y - 8, point.name.removeprefix("fixed-"), "start", colour))
            else:  # on the other side, off the curve
                body.append(_text(x - 9, y + 5, point.name, "end", colour))
        body.append(_text(WIDTH - RIGHT - 4, TOP + 18 + 18 * number, _label(family), "end", colour))
    inner = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="13" role="img" '
        f'aria-label="Median end-of-turn delay against false cut-offs">\n{inner}\n</svg>\n'
    )


def _grid(right: float, top: float) -> list[str]:
    """Axes, their marks and their names."""
    out = []
    for value in range(0, int(right) + 1, 200):
        x = _x(value, right)
        out.append(_line(x, TOP, x, HEIGHT - BOTTOM))
        out.append(_text(x, HEIGHT - BOTTOM + 18, str(value), "middle", GREY))
    step = 5 if top <= 40 else 10
    for value in range(0, int(top) + 1, step):
        y = _y(value, top)
        out.append(_line(LEFT, y, WIDTH - RIGHT, y))
        out.append(_text(LEFT - 8, y + 4, str(value), "end", GREY))
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(
        _text(
            middle,
            HEIGHT - 14,
            "median delay from the end of speech to the answer, ms",
            "middle",
            GREY,
        )
    )
    down = (TOP + HEIGHT - BOTTOM) / 2
    turn = f' transform="rotate(-90 18 {down:.0f})"'
    out.append(_text(18, down, "false cut-offs, % of recordings", "middle", GREY, turn))
    return out


def _families(points: Sequence[Point]) -> Mapping[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in sorted(points, key=lambda p: p.delay_ms):
        found.setdefault(point.family, []).append(point)
    return found


def _label(family: str) -> str:
    return f"{family} (ms)" if family.startswith("fixed") else family


def _x(delay_ms: float, right: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * delay_ms / right


def _y(percent: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * percent / top


def _round_up(value: float, step: int) -> float:
    return max(step, -(-value // step) * step)


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{GREY}" stroke-opacity="0.3"/>'


def _text(x: float, y: float, text: str, anchor: str, colour: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{more}>{escape(text)}</text>'
