"""Draws the pictures beside it: `python samples/draw.py`. Ours, of no data set; their names say what they show."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

SAMPLES = Path(__file__).parent
FONTS = Path(mpl.get_data_path()) / "fonts/ttf"
FINER = 4  # everything is drawn larger, then reduced

Point = tuple[float, float]
Colour = tuple[int, int, int]
WHITE, BLACK = (255, 255, 255), (0, 0, 0)

# The strokes of a hand, in a box of 1 x 1; x to the right, y down.
STROKES: dict[int, list[list[Point]]] = {
    0: [[(0.55, 0), (0.22, 0.15), (0.1, 0.5), (0.22, 0.88), (0.5, 1), (0.8, 0.85), (0.9, 0.45), (0.78, 0.1), (0.5, 0)]],
    1: [[(0.36, 0.2), (0.56, 0)], [(0.56, 0), (0.52, 0.5), (0.46, 1)]],
    2: [
        [(0.15, 0.25), (0.3, 0.05), (0.6, 0.02), (0.8, 0.2), (0.7, 0.45), (0.4, 0.75), (0.12, 0.98)],
        [(0.12, 0.98), (0.5, 0.94), (0.92, 0.97)],
    ],
    3: [
        [(0.15, 0.1), (0.45, 0), (0.78, 0.12), (0.74, 0.34), (0.4, 0.47)],
        [(0.4, 0.47), (0.78, 0.57), (0.84, 0.82), (0.5, 1), (0.1, 0.9)],
    ],
    4: [[(0.22, 0), (0.14, 0.52)], [(0.14, 0.52), (0.5, 0.54), (0.88, 0.5)], [(0.74, 0.08), (0.7, 0.5), (0.66, 1)]],
    5: [
        [(0.82, 0.02), (0.28, 0.04)],
        [(0.28, 0.04), (0.22, 0.44)],
        [(0.22, 0.44), (0.55, 0.38), (0.84, 0.62), (0.7, 0.92), (0.4, 1), (0.12, 0.9)],
    ],
    6: [
        [(0.7, 0), (0.36, 0.25), (0.15, 0.62), (0.22, 0.9), (0.5, 1), (0.8, 0.84), (0.76, 0.6), (0.5, 0.52), (0.2, 0.7)]
    ],
    7: [[(0.12, 0.06), (0.5, 0.02), (0.88, 0.04)], [(0.88, 0.04), (0.62, 0.45), (0.44, 1)]],
    8: [
        [(0.75, 0.12), (0.5, 0), (0.25, 0.15), (0.5, 0.5), (0.8, 0.84), (0.5, 1), (0.2, 0.85), (0.5, 0.5), (0.75, 0.12)]
    ],
    9: [
        [(0.78, 0.25), (0.55, 0.02), (0.24, 0.14), (0.22, 0.42), (0.5, 0.5), (0.78, 0.25)],
        [(0.78, 0.25), (0.75, 0.6), (0.62, 1)],
    ],
}


def main() -> None:
    pen, font = partial(ink_of_strokes, width=0.09), ink_of_font
    digits = {
        "0_brush.png": on_paper(pen(0, 220, width=0.16), BLACK, WHITE),
        "1_pencil.jpg": photographed(on_paper(pen(1, 260, width=0.05), (90, 90, 95), (222, 220, 214)), (40, 30)),
        "2_ink.webp": on_paper(pen(2, 180), (20, 40, 130), (250, 246, 230)),
        "3_ballpoint.jpg": photographed(on_paper(pen(3, 240, width=0.045), (30, 40, 120), (235, 232, 225)), (-50, 20)),
        "4_chalk.jpg": photographed(on_paper(pen(4, 200, width=0.11), (235, 235, 225), (45, 70, 60)), (15, 10)),
        "5_cut-out.png": cut_out(pen(5, 160, width=0.12), BLACK),
        "6_white_cut-out.png": cut_out(pen(6, 160, width=0.12), WHITE),
        "7_corner.png": ImageChops.offset(on_paper(pen(7, 300, height=0.22), BLACK, WHITE), 90, -80),
        "8_marker.bmp": on_paper(pen(8, 64, width=0.14), (200, 20, 30), WHITE).quantize(8),
        "9_small.gif": on_paper(pen(9, 32, width=0.12), WHITE, BLACK),
        "0_sans.png": on_paper(font(0, 120, "DejaVuSans.ttf"), BLACK, WHITE),
        "2_serif_italic.png": on_paper(font(2, 90, "DejaVuSerif-Italic.ttf"), (250, 250, 60), (20, 20, 90)),
        "3_roman.tiff": on_paper(font(3, 80, "cmr10.ttf"), BLACK, WHITE).convert("1"),
        "4_sans.ppm": on_paper(font(4, 36, "cmss10.ttf"), (60, 0, 60), (255, 220, 230)),
        "5_aileron.png": on_paper(font(5, 140, None), WHITE, (180, 40, 40)),
        "6_mono.png": on_paper(font(6, 100, "DejaVuSansMono.ttf"), (0, 90, 30), WHITE),
        "8_times.png": on_paper(font(8, 100, "STIXGeneral.ttf"), WHITE, BLACK),
        "9_bold.jpg": on_paper(font(9, 110, "DejaVuSans-Bold.ttf"), BLACK, (200, 200, 200)),
    }
    garments = {
        "t-shirt.jpg": t_shirt(),
        "trouser.png": trouser(),
        "pullover.jpg": pullover(),
        "dress.png": dress(),
        "sneaker.png": sneaker(),
        "bag.jpg": bag(),
        "ankle_boot.webp": ankle_boot(),
    }
    for folder, pictures in {"digits": digits, "garments": garments}.items():
        (SAMPLES / folder).mkdir(exist_ok=True)
        for name, picture in pictures.items():
            picture.save(SAMPLES / folder / name)


# Digits: first how much ink lies where, 255 for a stroke, then the ink on something.


def ink_of_strokes(digit: int, size: int, width: float, height: float = 0.7) -> Image.Image:
    """As a round pen draws them, pressing a little more here than there; `width` is a share of the digit's height."""
    fine = size * FINER
    ink = Image.new("L", (fine, fine), 0)
    draw, scale = ImageDraw.Draw(ink), fine * height
    for stroke in STROKES[digit]:
        for i, (x, y) in enumerate(curve(stroke)):
            x, y = (fine - scale * 0.8) / 2 + x * scale * 0.8, (fine - scale) / 2 + y * scale
            radius = scale * width / 2 * (1 + 0.15 * np.sin(i / 25))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return ink.resize((size, size), Image.Resampling.BOX)


def ink_of_font(digit: int, size: int, font: str | None) -> Image.Image:
    ink = Image.new("L", (size, size), 0)
    face = ImageFont.truetype(FONTS / font, 0.8 * size) if font else ImageFont.load_default(0.8 * size)
    ImageDraw.Draw(ink).text((size / 2, size / 2), str(digit), fill=255, font=face, anchor="mm")
    return ink


def curve(points: Sequence[Point], steps: int = 60) -> list[Point]:
    """A smooth line through the points (Catmull & Rom 1974)."""
    p = np.array([points[0], *points, points[-1]])
    t = np.linspace(0, 1, steps)[:, None]
    pieces = [
        b + t * (c - a) / 2 + t**2 * (a - 2.5 * b + 2 * c - d / 2) + t**3 * (1.5 * (b - c) + (d - a) / 2)
        for a, b, c, d in zip(p, p[1:], p[2:], p[3:], strict=False)
    ]
    return [(float(x), float(y)) for x, y in np.concatenate(pieces)]


def on_paper(ink: Image.Image, colour: Colour, paper: Colour) -> Image.Image:
    return Image.composite(Image.new("RGB", ink.size, colour), Image.new("RGB", ink.size, paper), ink)


def cut_out(ink: Image.Image, colour: Colour) -> Image.Image:
    """Transparent where there is no ink."""
    picture = Image.new("RGBA", ink.size, colour)
    picture.putalpha(ink)
    return picture


def photographed(picture: Image.Image, light: tuple[float, float]) -> Image.Image:
    """Darker towards one side and the corners, out of focus, and with the noise of a camera."""
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7)), np.float64)
    y, x = np.mgrid[-1 : 1 : pixels.shape[0] * 1j, -1 : 1 : pixels.shape[1] * 1j]
    shade = light[0] * x + light[1] * y - 15 * (x * x + y * y)
    noise = np.random.default_rng(0).normal(0, 2.5, pixels.shape[:2])
    return Image.fromarray((pixels + (shade + noise)[..., None]).clip(0, 255).astype(np.uint8))


# Garments, as shops show them: seen from the front, shoes with their toes to the left.


def shape(size: tuple[int, int], outline: Sequence[Point], smooth: bool = False) -> Image.Image:
    """What lies within an outline in a box of 1 x 1."""
    fine = Image.new("L", (size[0] * FINER, size[1] * FINER), 0)
    points = curve([*outline, outline[0]]) if smooth else outline
    ImageDraw.Draw(fine).polygon([(x * fine.width, y * fine.height) for x, y in points], fill=255)
    return fine.resize(size, Image.Resampling.BOX)


def mirrored(right: Sequence[Point]) -> list[Point]:
    """A symmetric outline from its right half, which is given from the top down."""
    return [*right, *((1 - x, y) for x, y in reversed(right))]


def cloth(size: tuple[int, int], colour: Colour, folds: float = 0.12) -> Image.Image:
    """Lighter in the middle, with folds that run downwards."""
    y, x = np.mgrid[0 : 1 : size[1] * 1j, 0 : 1 : size[0] * 1j]
    light = 1.1 - 1.0 * (x - 0.5) ** 2 + folds * np.sin(18 * x + 5 * y) * y - 0.1 * y
    return Image.fromarray((np.array(colour) * light[..., None]).clip(0, 255).astype(np.uint8))


def seam(picture: Image.Image, *lines: Sequence[Point], colour: Colour = BLACK, width: int = 2) -> Image.Image:
    draw = ImageDraw.Draw(picture)
    for line in lines:
        draw.line([(x * picture.width, y * picture.height) for x, y in line], fill=colour, width=width, joint="curve")
    return picture


def sewn(size: tuple[int, int], colour: Colour, outline: Sequence[Point], *lines: Sequence[Point]) -> Image.Image:
    dark = (colour[0] * 2 // 3, colour[1] * 2 // 3, colour[2] * 2 // 3)
    garment = seam(cloth(size, colour), *lines, colour=dark)
    return Image.composite(garment, Image.new("RGB", size, (253, 253, 253)), shape(size, outline))


def t_shirt() -> Image.Image:
    half = [(0.58, 0.06), (0.66, 0.05), (0.8, 0.11), (0.95, 0.34), (0.82, 0.42), (0.75, 0.33), (0.75, 0.95)]
    neck = [(0.4, 0.06), (0.44, 0.12), (0.5, 0.14), (0.56, 0.12), (0.6, 0.06)]
    sleeves = [(0.75, 0.33), (0.74, 0.2)], [(0.25, 0.33), (0.26, 0.2)]
    return sewn((240, 280), (40, 60, 120), [*mirrored(half), (0.44, 0.1), (0.5, 0.11), (0.56, 0.1)], neck, *sleeves)


def pullover() -> Image.Image:
    half = [
        (0.58, 0.05),
        (0.67, 0.06),
        (0.79, 0.13),
        (0.87, 0.45),
        (0.93, 0.9),
        (0.83, 0.93),
        (0.74, 0.45),
        (0.74, 0.95),
    ]
    neck = [(0.4, 0.05), (0.44, 0.1), (0.5, 0.115), (0.56, 0.1), (0.6, 0.05)]
    hems = [(0.2, 0.9), (0.8, 0.9)], [(0.74, 0.45), (0.72, 0.2)], [(0.26, 0.45), (0.28, 0.2)]
    return sewn((240, 290), (110, 115, 120), mirrored(half), neck, *hems)


def dress() -> Image.Image:
    half = [(0.6, 0.03), (0.64, 0.03), (0.65, 0.13), (0.69, 0.22), (0.63, 0.4), (0.7, 0.6), (0.79, 0.97)]
    garment = sewn((170, 300), (150, 30, 60), [*mirrored(half), (0.41, 0.11), (0.5, 0.15), (0.59, 0.11)])
    return seam(garment, [(0.37, 0.4), (0.63, 0.4)], colour=(90, 10, 30), width=3)


def trouser() -> Image.Image:
    half = [(0.72, 0.03), (0.76, 0.25), (0.77, 0.6), (0.72, 0.97), (0.57, 0.97), (0.54, 0.6), (0.51, 0.3)]
    size = (160, 300)
    garment = seam(cloth(size, (60, 60, 66)), [(0.25, 0.08), (0.75, 0.08)], [(0.5, 0.08), (0.5, 0.3)])
    garment.putalpha(shape(size, mirrored(half)))
    return garment


def sneaker() -> Image.Image:
    size = (260, 150)
    upper = [(0.07, 0.68), (0.12, 0.52), (0.3, 0.42), (0.5, 0.2), (0.62, 0.14), (0.72, 0.26), (0.85, 0.26)]
    upper += [(0.92, 0.2), (0.95, 0.5), (0.95, 0.75), (0.5, 0.78), (0.1, 0.78)]
    sole = [(0.05, 0.72), (0.5, 0.75), (0.96, 0.71), (0.96, 0.86), (0.5, 0.88), (0.1, 0.88), (0.05, 0.8)]
    laces = [[(0.33 + 0.07 * i, 0.42 - 0.07 * i), (0.39 + 0.07 * i, 0.5 - 0.06 * i)] for i in range(4)]
    stripe = [(0.5, 0.7), (0.62, 0.36)], [(0.57, 0.7), (0.69, 0.36)]
    leather = seam(cloth(size, (70, 85, 110), folds=0.03), *laces, *stripe, colour=(220, 220, 225), width=4)
    picture = Image.composite(leather, Image.new("RGB", size, WHITE), shape(size, upper, smooth=True))
    return Image.composite(cloth(size, (205, 205, 200), folds=0), picture, shape(size, sole))


def ankle_boot() -> Image.Image:
    size = (240, 230)
    upper = [
        (0.07, 0.76),
        (0.12, 0.62),
        (0.36, 0.5),
        (0.46, 0.34),
        (0.47, 0.06),
        (0.9, 0.05),
        (0.88, 0.4),
        (0.93, 0.66),
    ]
    upper += [(0.93, 0.86), (0.6, 0.86), (0.1, 0.86)]
    sole = [(0.06, 0.82), (0.95, 0.82), (0.95, 0.97), (0.7, 0.97), (0.66, 0.89), (0.08, 0.89)]
    lines = [(0.7, 0.05), (0.7, 0.45), (0.62, 0.6), (0.64, 0.84)], [(0.36, 0.5), (0.45, 0.6)]
    leather = seam(cloth(size, (105, 65, 35), folds=0.03), *lines, colour=(60, 35, 20), width=3)
    picture = Image.composite(leather, Image.new("RGB", size, WHITE), shape(size, upper))
    return Image.composite(cloth(size, (40, 30, 25), folds=0), picture, shape(size, sole))


def bag() -> Image.Image:
    size = (260, 250)
    body = [(0.1, 0.42), (0.9, 0.42), (0.95, 0.95), (0.05, 0.95)]
    leather = seam(cloth(size, (130, 75, 50), folds=0), [(0.08, 0.6), (0.92, 0.6)], colour=(70, 40, 25), width=3)
    picture = Image.composite(leather, Image.new("RGB", size, (236, 236, 236)), shape(size, body))
    handle = curve([(0.28, 0.44), (0.32, 0.18), (0.5, 0.08), (0.68, 0.18), (0.72, 0.44)])
    return seam(picture, handle, [(0.47, 0.6), (0.53, 0.6)], colour=(80, 45, 30), width=9)


if __name__ == "__main__":
    main()
