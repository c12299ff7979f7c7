"""The saved picture of an explorer as HTML that needs no script: a table, pictures, words."""

from __future__ import annotations

from html import escape

import numpy as np

from nnwidget.session.still import Sheet, Still, Thumbnail
from nnwidget.types import Array, LayerInfo
from nnwidget.wire.png import data_uri, png

LIMIT = 100_000
"""Bytes of a saved picture at most."""
LIMIT_PIXELS = 250_000
"""Bytes at most with feature maps and inputs."""

_WIDTH = 520  # CSS pixels that a sheet of pictures may take
_NAME = 60  # characters
_ZERO, _GAP, _LOWEST, _HIGHEST, _NAN = 125, 251, 253, 254, 255

# Beside a widget that lives nothing is seen of the picture, and nothing of a widget that is gone (in JupyterLab, then
# in nbconvert's pages). One that is still loading gets some seconds: without a kernel JupyterLab waits for it forever.
# Where the markup is another one, any live explorer on the page hides the picture. The name that nothing has makes the
# rules below outweigh the page's own.
_PANEL = ".lm-Panel.jp-OutputArea-output:not(.jupyter-widgets):not(.lm-mod-hidden)"
_LOADING = f".jp-OutputArea-child:has(> {_PANEL}):not(:has(> {_PANEL} > *))"
_BEFORE, _PICTURE = ":has(+ .jp-OutputArea-child .nnw-saved)", ".jp-OutputArea-child:has(.nnw-saved)"
_STYLE = (
    f"""
.jp-OutputArea-child:has(> {_PANEL} > *) + {_PICTURE},
.jp-OutputArea-child:has(> .lm-Panel.jp-OutputArea-output.jupyter-widgets){_BEFORE},
.jp-OutputArea-child:has(> .output_widget_view){_BEFORE} {{ display: none }}
{_LOADING} + {_PICTURE} {{ animation: nnw-saved-comes 0s 6s both }}
{_LOADING}{_BEFORE} {{ animation: nnw-saved-comes 0s 6s reverse both }}
"""
    + """
@keyframes nnw-saved-comes {
  from { max-height: 0; overflow: hidden; visibility: hidden }
  to { max-height: 9999px; overflow: visible; visibility: visible }
}
body:has(.nnw):not(:has(.jp-OutputArea)) .nnw-saved { display: none }
.nnw-saved { font: 13px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); font-variant-numeric: tabular-nums }
.nnw-saved > div { display: flex; flex-wrap: wrap; gap: 8px 32px; align-items: flex-start }
.nnw-saved section { flex: 1 1 320px; min-width: 0; max-width: 560px }
.nnw-saved:is(#nnw-own, *) p, .nnw-saved:is(#nnw-own, *) h4, .nnw-saved:is(#nnw-own, *) figure
  { margin: 0 0 8px; padding: 0; font-size: 13px; line-height: 1.4 }
.nnw-saved:is(#nnw-own, *) h4 { margin: 0; font-weight: 600 }
.nnw-saved:is(#nnw-own, *) figure { display: inline-block; margin-right: 12px; vertical-align: top; max-width: 100% }
.nnw-saved:is(#nnw-own, *) figcaption { font-size: 12px }
.nnw-saved:is(#nnw-own, *) img
  { display: block; image-rendering: pixelated; max-width: 100%; height: auto; margin: 2px 0 }
.nnw-saved:is(#nnw-own, *) img[height] { height: 14px }
.nnw-saved:is(#nnw-own, *) table { border-collapse: collapse; margin: 0 0 8px; font-size: 12px }
.nnw-saved:is(#nnw-own, *) table th, .nnw-saved:is(#nnw-own, *) table td
  { text-align: left; padding: 1px 12px 1px 4px; border: 0; white-space: pre; max-width: none }
.nnw-saved:is(#nnw-own, *) table th { font-weight: 600 }
.nnw-saved:is(#nnw-own, *) table .n { text-align: right }
"""
)


def still_page(still: Still) -> str:
    """Return the picture as HTML.

    Parameters
    ----------
    still : Still
        What is saved.

    Returns
    -------
    str
        At most `LIMIT` bytes, with inputs or feature maps `LIMIT_PIXELS`. Readable on light and on dark grounds: the
        text has the page's own colour, and zero is nearly transparent.
    """
    sheets = list(still.sheets)
    while True:
        page = _page(still, sheets)
        if len(page.encode()) <= (LIMIT_PIXELS if still.inputs else LIMIT) or not sheets:
            return page
        sheets.remove(max(sheets, key=lambda sheet: sheet.pictures.size))


def placeholder(summary: str) -> str:
    """Return what stands in the notebook until there is a picture."""
    return f'<div class="nnw-saved"><style>{_STYLE}</style><p>{escape(summary)}</p></div>'


def _page(still: Still, sheets: list[Sheet]) -> str:
    words = still.words
    step = f" · after {still.step:,} training steps" if still.step else ""
    head = f"<b>{_text(words['name'])}</b> · {_count(words['parameters'])} parameters{step}"
    left = f"{still.omitted:,} deeper layers are left out. " if still.omitted else ""
    if len(sheets) < len(still.sheets):
        left += "Some pictures are too large to be saved. "
    notes = "".join(f"<p>{_text(note, 300)}</p>" for note in still.notes)
    side = "".join(map(_figure, sheets)) + _inputs(still)
    rows = "".join(_row(info, info.name == still.selected) for info in still.rows)
    table = (
        "<table><thead><tr><th>layer</th><th>type</th><th class=n>output</th><th class=n>parameters</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
    )
    return (
        f'<div class="nnw-saved"><style>{_STYLE}</style><p>{head}</p><div>{table}<section>{side}{notes}</section></div>'
        f"<p>{left}A saved picture of nnwidget.explore: run the cell to look further.</p></div>"
    )


def _row(info: LayerInfo, selected: bool) -> str:
    # Spaces and not a style, which some pages take away.
    name = "\N{EM SPACE}" * (info.depth - 1) + _text(info.name.rpartition(".")[2])
    name = f"<b>{name} ◂</b>" if selected else name
    shape = info.outputs[0].shape if info.outputs else None
    output = "" if shape is None else "×".join(map(str, shape[1:])) or "scalar"
    parameters = _count(info.parameters) if info.parameters else ""
    words = f"<td>{name}</td><td>{_text(info.type)}</td>"
    return f"<tr>{words}<td class=n>{output}</td><td class=n>{parameters}</td></tr>"


def _figure(sheet: Sheet) -> str:
    pictures = sheet.pictures
    n, rows, columns = pictures.shape[:3]
    if not pictures.size:
        return ""
    across, scale = _arrangement(n, rows, columns)
    if pictures.ndim == 4:
        file = png(_grid(pictures, across), scale=scale)
    else:
        file = png(_grid(_numbers(sheet), across), _palette(), scale=scale)
    label = sheet.label
    if sheet.bound is not None:
        label += f"; {_range(pictures, sheet.bound)}"
    if len(sheet.numbers) > 1 and sheet.numbers != tuple(map(str, range(n))):
        label += f"; row by row: {', '.join(sheet.numbers)}"
    high = ' height="14"' if rows == 1 else ""
    return (
        f"<h4>{_text(sheet.title, 120)}</h4><figure>"
        f'<img alt="{_text(sheet.title, 120)}: {_text(label, 400)}" src="{data_uri(file)}"{_wide(high, columns)}>'
        f"<figcaption>{_text(label, 400)}</figcaption></figure>"
    )


def _range(values: Array, bound: float) -> str:
    """Say what the colours mean."""
    if not bound:
        said = "all zero"
    elif (values < 0).any():
        said = f"blue {_number(-bound)}, red {_number(bound)}"
    else:
        said = f"0 to {_number(bound)}, red"
    odd = int((~np.isfinite(values)).sum())
    return said + (f", {odd:,} pixels NaN or infinite, orange" if odd else "")


def _wide(high: str, columns: int) -> str:
    """Say how large a strip of one row is shown; other pictures have their size."""
    return f' width="{min(_WIDTH, columns * 8)}"{high}' if high else ""


def _arrangement(n: int, rows: int, columns: int) -> tuple[int, int]:
    """Return how many pictures stand side by side, and how much each pixel is enlarged."""
    scale = 1 if rows == 1 else max(1, min(8, 40 // max(rows, columns) if n > 1 else 192 // max(rows, columns)))
    return max(1, min(n, 16, _WIDTH // ((columns + 1) * scale))), scale


def _grid(pictures: Array, across: int) -> Array:
    """Put pictures side by side with a gap of one pixel that shows the ground."""
    if pictures.ndim == 4:
        pictures = np.concatenate([pictures, np.full((*pictures.shape[:3], 1), 255, np.uint8)], axis=3)
    n, rows, columns = pictures.shape[:3]
    down = -(-n // across)
    size = (down * (rows + 1) - 1, across * (columns + 1) - 1, *pictures.shape[3:])
    sheet = np.full(size, 0 if pictures.ndim == 4 else _GAP, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // across * (rows + 1), place % across * (columns + 1)
        sheet[top : top + rows, left : left + columns] = picture
    return sheet


def _numbers(sheet: Sheet) -> Array:
    """Turn values into numbers of palette entries."""
    values, bound = sheet.pictures, sheet.bound or 1.0
    scaled = np.nan_to_num(values / bound, nan=0.0, posinf=0.0, neginf=0.0).clip(-1, 1)
    codes = (scaled * _ZERO + _ZERO).round().astype(np.uint8)
    codes[values == -np.inf], codes[values == np.inf], codes[np.isnan(values)] = _LOWEST, _HIGHEST, _NAN
    return codes


def _palette() -> Array:
    """Blue over a hint of grey to red; zero lets the ground through, so that light and dark grounds both serve."""
    entries = np.zeros((256, 4), np.uint8)
    place = np.linspace(-1, 1, 2 * _ZERO + 1)
    size = np.abs(place)[:, None]
    hue = np.where(place[:, None] < 0, [[38, 122, 208]], [[212, 70, 62]])
    entries[: len(place), :3] = (128 + (hue - 128) * np.sqrt(size)).round()
    entries[: len(place), 3] = (255 * (0.12 + 0.88 * size[:, 0])).round()
    entries[[_LOWEST, _HIGHEST, _NAN]] = [226, 142, 0, 255]
    return entries


def _inputs(still: Still) -> str:
    if not still.inputs:
        return ""
    many = f"the first {len(still.inputs)} of {still.total:,}" if still.total > len(still.inputs) else f"{still.total}"
    return f"<h4>Inputs, {many}</h4>" + "".join(_input(number, one) for number, one in enumerate(still.inputs))


def _input(number: int, one: Thumbnail) -> str:
    mark = "" if one.correct is None else " ✓" if one.correct else " ✗"
    words = _text(one.caption or one.target or str(number), 40) + mark
    image = ""
    if one.picture is not None and one.picture.size:
        scale = max(1, 48 // max(one.picture.shape[:2]))
        image = f'<img alt="input {number}" src="{data_uri(png(one.picture, scale=scale))}">'
    return f"<figure>{image}<figcaption>{words}</figcaption></figure>"


def _text(text: object, most: int = _NAME) -> str:
    """Make anything the user wrote harmless and short."""
    plain = str(text)
    return escape(plain if len(plain) <= most else plain[: most - 1] + "…")


def _count(number: int) -> str:
    """Write large counts short: 3.50 M."""
    for size, unit in ((1e9, "G"), (1e6, "M")):
        if number >= size:
            value = number / size
            return f"{value:.{max(0, 2 - (value >= 10) - (value >= 100))}f} {unit}"
    return f"{number:,}"


def _number(value: float) -> str:
    """Write three significant digits with a true minus sign."""
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


__all__ = ["LIMIT", "LIMIT_PIXELS", "placeholder", "still_page"]
