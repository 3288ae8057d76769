"""Draw a terminal's screen as a picture, cell by cell: ``tmux capture-pane -epN | python shot.py OUT.png COLUMNS``.

Needs rich, pillow and the font DejaVu Sans Mono. Each cell stands on its own square of the grid, so that lines join up.
"""

from __future__ import annotations

import sys

from PIL import Image, ImageDraw, ImageFont
from rich.ansi import AnsiDecoder
from rich.cells import cell_len
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme

FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono{}.ttf"
POINTS = 16
PLAIN, BOLD = (ImageFont.truetype(FONT.format(kind), POINTS) for kind in ("", "-Bold"))
WIDTH, HEIGHT = round(PLAIN.getlength("M")), sum(PLAIN.getmetrics())
MARGIN = 16  # pixels on each side

Colour = tuple[int, int, int]


def rgb(triplet: tuple[int, ...]) -> Colour:
    """Return a colour of rich's."""
    red, green, blue = triplet
    return red, green, blue


def between(one: Colour, other: Colour) -> Colour:
    """Return the colour half-way."""
    return ((one[0] + other[0]) // 2, (one[1] + other[1]) // 2, (one[2] + other[2]) // 2)


def shoot(screen: str, out: str, columns: int, theme: TerminalTheme) -> None:
    """Draw ``screen``, text with escapes, and save it."""
    console = Console(width=10_000, color_system="truecolor", force_terminal=True, file=sys.stderr)
    texts = AnsiDecoder().decode(screen)  # one decoder: a style runs on over the ends of lines
    rows = [list(console.render(text, console.options.update(no_wrap=True))) for text in texts]
    paper, ink = rgb(theme.background_color), rgb(theme.foreground_color)
    size = (columns * WIDTH + 2 * MARGIN, max(1, len(rows)) * HEIGHT + 2 * MARGIN)
    image = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(image)
    for line, row in enumerate(rows):
        place = 0
        for text, style, _ in row:
            colour: Colour = ink
            behind: Colour | None = None
            if style and style.color and not style.color.is_default:
                colour = rgb(style.color.get_truecolor(theme))
            if style and style.bgcolor and not style.bgcolor.is_default:
                behind = rgb(style.bgcolor.get_truecolor(theme, False))
            if style and style.reverse:
                colour, behind = behind or paper, colour
            if style and style.dim:
                colour = between(colour, behind or paper)
            for char in text.replace("\n", ""):
                left, top, wide = MARGIN + place * WIDTH, MARGIN + line * HEIGHT, cell_len(char)
                if behind:
                    draw.rectangle((left, top, left + wide * WIDTH - 1, top + HEIGHT - 1), fill=behind)
                draw.text((left, top), char, colour, BOLD if style and style.bold else PLAIN)
                place += wide
    image.quantize(64).save(out, optimize=True)


if __name__ == "__main__":
    light = sys.argv[3:] == ["light"]
    shoot(sys.stdin.read().rstrip("\n"), sys.argv[1], int(sys.argv[2]), DEFAULT_TERMINAL_THEME if light else MONOKAI)
