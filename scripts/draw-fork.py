#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Draws Documentation/images/fork.svg: a guest, two forks, and whose pages their RAM is.

Usage: draw-fork.py [--check]      (--check: fails if the file is another picture)
"""

import os
import sys

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../Documentation/images/fork.svg")
WIDTH, HEIGHT = 880, 430
PAGES, CELL = 12, 16
SHARED, INK = "#9db8d9", "#222222"
# Name, process, colour, and the page that the guest has stored to since.
GUESTS = [("vm.ram", "the guest, which runs on", "#d97b29", 2),
          ("web.1.ram", "fork 1", "#3a8f5c", 6),
          ("web.2.ram", "fork 2", "#8a57b5", 9)]


class Picture:
    def __init__(self):
        self.parts = []

    def box(self, x, y, width, height, fill, stroke=INK, radius=3):
        self.parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" '
                          f'fill="{fill}" stroke="{stroke}"/>')

    def text(self, x, y, text, size=13, anchor="start", weight="normal"):
        self.parts.append(f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" '
                          f'font-weight="{weight}" fill="{INK}">{text}</text>')

    def line(self, x1, y1, x2, y2, colour, dash=""):
        self.parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"'
                          + (f' stroke-dasharray="{dash}"' if dash else "") + "/>")

    def svg(self):
        return "\n".join([
            '<?xml version="1.0" encoding="UTF-8"?>',
            "<!-- SPDX-License-Identifier: GPL-2.0 -->",
            "<!-- Drawn by scripts/draw-fork.py -->",
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>', *self.parts, "</svg>", ""])


def draw():
    picture = Picture()
    picture.text(24, 34, "qemufilectl fork --start vm.qmp web 2", 16, weight="bold")
    for column, (step, what) in enumerate([
            ("1  stop", "the guest stands still"),
            ("2  migrate", "devices to web.state"),
            ("3  clone", "RAM: no byte is copied"),
            ("4  cont", "the guest runs on")]):
        x = 24 + column * 212
        picture.box(x, 50, 196, 46, "#f2f2f2", "#999999")
        picture.text(x + 10, 69, step, 13, weight="bold")
        picture.text(x + 10, 87, what, 12)
    strip = PAGES * CELL
    own_y, shared_y = 242, 336
    left = (WIDTH - PAGES * 3 * CELL) / 2
    for column, (name, title, colour, own) in enumerate(GUESTS):
        x = 24 + column * 286
        picture.box(x, 122, 260, 96, "#ffffff", colour, 6)
        picture.text(x + 12, 142, f"QEMU: {title}", 13, weight="bold")
        picture.text(x + 12, 166, f"RAM: /run/qemufile/{name}", 12)
        start = x + (260 - strip) / 2
        for page in range(PAGES):
            cell = start + page * CELL
            picture.box(cell, 182, CELL, 22, colour if page == own else SHARED, "#ffffff", 0)
            if page == own:
                picture.line(cell + CELL / 2, 204, x + 66, own_y, colour)
            elif page % 4 == 0:
                target = left + (page * 3 + column + 0.5) * CELL
                picture.line(cell + CELL / 2, 204, target, shared_y, "#7d95b3", "3 3")
        picture.box(x + 58, own_y, CELL, 22, colour, "#ffffff", 0)
        picture.text(x + 82, own_y + 16, "its own, stored to since", 12)
    for page in range(PAGES):
        picture.box(left + page * 3 * CELL, shared_y, 3 * CELL, 26, SHARED, "#ffffff", 0)
    picture.text(left - 10, shared_y + 18, "memory", 12, "end")
    picture.text(WIDTH / 2, shared_y + 46, "pages of all three, there once", 12, "middle")
    picture.text(24, HEIGHT - 14, "A page is copied when one of them stores to it. All others stay "
                 "shared.", 12)
    return picture.svg()


def main():
    if sys.argv[1:] == ["--check"]:
        with open(FILE, encoding="utf-8") as file:
            sys.exit(file.read() != draw())
    with open(FILE, "w", encoding="utf-8") as file:
        file.write(draw())


main()
