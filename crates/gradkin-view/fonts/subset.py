"""Cuts Inter down to what gradkin draws: `python subset.py IN.woff2 OUT.ttf`.

Needs fonttools, brotli and uharfbuzz. Figures become tabular ones, so that numbers line up, and
the kerning of ASCII pairs moves from GPOS to a `kern` table, the only kind ab_glyph reads.
"""

import io
import sys

import uharfbuzz as hb
from fontTools import subset
from fontTools.ttLib import TTFont, newTable
from fontTools.ttLib.tables._k_e_r_n import KernTable_format_0

SYMBOLS = "–—‘’“”„†•…‰′″‹›⁄€№™←↑→↓↔⇒∂∇∆∏∑−√∞∫≈≠≡≤≥⟨⟩■□▲△▼▽◆◇○●★☆✓✗⚠×÷±·²³¹⁰⁴⁵⁶⁷⁸⁹⁻₀₁₂₃₄₅₆₇₈₉‖∈∥"
UNICODES = {*range(0x20, 0x7F), *range(0xA0, 0x180), *range(0x386, 0x3CF), *map(ord, SYMBOLS)}
DIGITS = "zero one two three four five six seven eight nine".split()

source, target = sys.argv[1:]
font = TTFont(source)
for cmap in font["cmap"].tables:
    for digit, name in enumerate(DIGITS):
        cmap.cmap[ord("0") + digit] = f"{name}.tf"

plain = io.BytesIO()
font.flavor = None
font.save(plain)
shaper = hb.Font(hb.Face(plain.getvalue()))


def advance(text):
    """The width of `text` in font units, kerned."""
    buffer = hb.Buffer()
    buffer.add_str(text)
    buffer.guess_segment_properties()
    off = {"liga": False, "calt": False, "ccmp": False}
    hb.shape(shaper, buffer, off)
    return sum(position.x_advance for position in buffer.glyph_positions)


letters = [chr(code) for code in range(0x21, 0x7F) if not chr(code).isdigit()]
alone = {letter: advance(letter) for letter in letters}
kerns = {(a, b): advance(a + b) - alone[a] - alone[b] for a in letters for b in letters}

options = subset.Options(layout_features=[], hinting=False, notdef_outline=True, name_IDs=["*"])
options.drop_tables += ["GPOS", "GSUB", "GDEF", "STAT"]
cut = subset.Subsetter(options)
cut.populate(unicodes=UNICODES)
cut.subset(font)

table = KernTable_format_0()
table.version, table.coverage, table.format, table.apple = 0, 1, 0, False
cmap = font.getBestCmap()
names = {letter: cmap[ord(letter)] for letter in letters}
table.kernTable = {(names[a], names[b]): kern for (a, b), kern in kerns.items() if kern}
font["kern"] = newTable("kern")
font["kern"].version, font["kern"].kernTables = 0, [table]
font.save(target)
missing = "".join(chr(code) for code in sorted(UNICODES - set(cmap)))
print(f"{target}: {len(cmap)} characters, {len(table.kernTable)} kerned pairs; not in Inter: {missing}")
