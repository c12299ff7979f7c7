"""The saved picture: what is in it, what never is, how large it gets, and when it is made."""

import asyncio
import base64
import io
import re
import threading
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import nnwidget
from nnwidget.errors import InputError
from nnwidget.session import still_keeping
from nnwidget.widgets import still_output
from nnwidget.widgets.still_page import LIMIT, LIMIT_PIXELS
from nnwidget.wire.png import png

WIDGET = "application/vnd.jupyter.widget-view+json"
OURS = {"div", "style", "p", "b", "section", "h4", "figure", "figcaption", "img"}
OURS |= {"table", "thead", "tbody", "tr", "th", "td"}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).eval()


@pytest.fixture
def images():
    return torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))


class Notebook:
    """An IPython with a kernel, as far as displays need one: keeps what is published."""

    kernel = object()

    def __init__(self):
        self.published = []
        self.display_pub = self

    def publish(self, data, metadata, transient=None, update=False):
        self.published.append((data, transient, update))

    @property
    def pictures(self):
        return [data["text/html"] for data, transient, _ in self.published if transient]


@pytest.fixture
def notebook(monkeypatch):
    made = Notebook()
    monkeypatch.setattr(still_output, "shell", lambda: made)
    return made


def picture(ex, notebook):
    """Display the explorer, end the cell and return the picture."""
    ex._ipython_display_()
    ex._cell_ended()
    return notebook.pictures[-1]


def uris(page):
    return re.findall(r'src="data:image/png;base64,([^"]+)"', page)


def decoded(uri):
    return np.array(Image.open(io.BytesIO(base64.b64decode(uri))).convert("RGBA"))


class Checked(HTMLParser):
    """Parses a page and fails on what a page without script or a strict reader would mind."""

    EMPTY = frozenset({"img"})

    def __init__(self, page):
        super().__init__()
        self.open, self.texts, self.tags = [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)


def test_the_table_and_the_weights_are_the_models(model, images, notebook):
    with nnwidget.explore(model, images) as ex:
        page = picture(ex, notebook)
    seen = Checked(page)
    text = " ".join(seen.texts)
    assert "Sequential" in text and "4×6×6" in text and f"{4 * 36 * 3 + 3:,}" in text
    (uri,) = uris(page)
    kernel = model[0].weight.detach()[:, 0]
    colours = decoded(uri)
    size = colours.shape[0] // 3
    for channel in range(4):
        for row in range(3):
            for column in range(3):
                at = colours[row * size + size // 2, (channel * 4 + column) * size + size // 2]
                value = float(kernel[channel, row, column])
                if abs(value) > 0.05 * float(kernel.abs().max()):
                    assert (at[0] > at[2]) == (value > 0)
    # The largest weight has the strongest colour.
    flat = colours[size // 2 :: size, size // 2 :: size][:3, :, 3]
    place = np.unravel_index(flat.argmax(), flat.shape)
    assert abs(float(kernel[place[1] // 4, place[0], place[1] % 4])) == pytest.approx(float(kernel.abs().max()))


def test_without_save_pixels_nothing_depends_on_the_inputs_values(model, images, notebook):
    pages = []
    for given, captions in ((images, ["Ann"] * 5), (torch.zeros_like(images), ["Bob"] * 5)):
        with nnwidget.explore(model, given, captions=captions, targets=[0] * 5) as ex:
            ex.layers.selected = ["2"]
            pages.append(picture(ex, notebook))
    assert pages[0] == pages[1] and "Ann" not in pages[0]


def test_without_save_pixels_the_model_is_not_run(model, images, notebook):
    calls = []
    with nnwidget.explore(model, images) as ex:
        model.register_forward_hook(lambda *_: calls.append(1))
        picture(ex, notebook)
    assert calls == []


def test_save_pixels_adds_the_inputs_and_the_feature_maps(model, images, notebook):
    with nnwidget.explore(model, images, save_pixels=True, captions=list("abcde"), targets=[0] * 5) as ex:
        ex.layers.selected = ["2"]
        page = picture(ex, notebook)
        maps = ex.activation("2")
    found = [decoded(uri) for uri in uris(page)]
    assert len(found) == 1 + 1 + 5
    thumbnail = found[2]
    size = thumbnail.shape[0] // 8
    assert np.array_equal(thumbnail[::size, ::size, 0], (images[0, 0] * 255).round().byte().numpy())
    order = np.argsort(-np.abs(maps).mean((1, 2)), kind="stable")
    size = found[1].shape[0] // 6
    opacity = found[1][size // 2 :: size, size // 2 :: size, 3].astype(float)
    first = opacity[:6, :6]
    expected = 255 * (0.12 + 0.88 * maps[order[0]] / maps.max())
    assert np.abs(first - expected).max() < 4
    text = " ".join(Checked(page).texts)
    assert f"row by row: {', '.join(map(str, order))}" in text
    marks = re.findall(r"<figcaption>[a-e] ([✓✗])", page)
    right = (model(images).argmax(1) == 0).tolist()
    assert marks == ["✓" if good else "✗" for good in right]


def test_nothing_a_user_wrote_is_markup(images, notebook):
    evil = '"><script>alert(1)</script><b onload=x>'
    model = nn.Sequential()
    model.add_module(evil, type(evil, (nn.Conv2d,), {})(1, 4, 3))
    model.__class__ = type(evil, (nn.Sequential,), {})
    options = {"captions": [evil] * 5, "targets": [0] * 5}
    with nnwidget.explore(model, images, save_pixels=True, **options) as ex:
        page = picture(ex, notebook)
        first = notebook.pictures[0]
    for each in (page, first):
        assert {tag for tag, _ in Checked(each).tags} <= OURS
    assert evil[:20] in "".join(Checked(page).texts)


def test_no_address_but_the_pictures_own(model, images, notebook):
    with nnwidget.explore(model, images, save_pixels=True) as ex:
        page = picture(ex, notebook)
    assert "http" not in page and "url(" not in page and "@import" not in page
    assert all(attributes.get("alt") for tag, attributes in Checked(page).tags if tag == "img")


@pytest.mark.parametrize("pixels", [False, True])
def test_the_picture_is_small_whatever_the_model(notebook, pixels):
    # Noise cannot be compressed, and 300 layers with long names do not fit.
    noise = torch.Generator().manual_seed(0)
    first = nn.Conv2d(3, 256, 16, padding=8)
    first.weight.data = torch.rand(first.weight.shape, generator=noise)
    layers = nn.Sequential(first)
    for number in range(300):
        layers.add_module("n" * 300 + str(number), nn.Identity())
    images = torch.rand(70, 3, 64, 64, generator=noise)
    with nnwidget.explore(layers, images, save_pixels=pixels, captions=["&" * 500] * 70) as ex:
        page = picture(ex, notebook)
        assert len(uris(page)) == (1 + 1 + 8 if pixels else 1)
    assert len(page.encode()) <= (LIMIT_PIXELS if pixels else LIMIT)
    assert "layers are left out" in page and page.count("<tr>") <= 62


@pytest.mark.parametrize(
    "layer, given",
    [
        (nn.Linear(700, 900), torch.zeros(2, 700)),
        (nn.Embedding(500, 33), torch.zeros(2, 4, dtype=torch.long)),
        (nn.LSTM(5, 7), torch.zeros(3, 2, 5)),
        (nn.BatchNorm1d(4000), torch.zeros(2, 4000)),
        (nn.Conv1d(2, 3, 5), torch.zeros(2, 2, 9)),
        (nn.Conv3d(1, 3, 2), torch.zeros(2, 1, 4, 4, 4)),
    ],
)
@pytest.mark.parametrize("pixels", [False, True])
def test_weights_and_outputs_of_other_layers_are_drawn_too(layer, given, pixels, notebook):
    with nnwidget.explore(nn.Sequential(layer).eval(), given, save_pixels=pixels) as ex:
        page = picture(ex, notebook)
        assert not pixels or "Output of 0" in page
    Checked(page)
    assert uris(page) and len(page) < LIMIT
    assert all(decoded(uri).size for uri in uris(page))


def test_values_that_are_no_numbers_are_said(model, images, notebook):
    model[0].weight.data[0, 0, 0, 0] = float("nan")
    model[0].weight.data[1, 0, 0, 0] = float("inf")
    with nnwidget.explore(model, images) as ex:
        page = picture(ex, notebook)
    assert "2 pixels NaN or infinite" in page
    colours = decoded(uris(page)[0])
    assert tuple(colours[2, 2]) == (226, 142, 0, 255)


def test_a_model_that_fails_keeps_its_table(images, notebook):
    model = nn.Sequential(nn.Linear(3, 2))
    with nnwidget.explore(model, images, save_pixels=True) as ex:
        page = picture(ex, notebook)
    Checked(page)
    assert "Linear" in page and uris(page)


@pytest.mark.parametrize("value", [1, "yes", None, np.True_])
def test_save_pixels_is_true_or_false(model, images, value):
    with pytest.raises(InputError, match="save_pixels=True") as raised:
        nnwidget.explore(model, images, save_pixels=value)
    assert raised.value.argument == "save_pixels" and raised.value.remedy


def test_the_widget_and_its_picture_are_two_outputs(model, images, notebook):
    with nnwidget.explore(model, images) as ex:
        ex._ipython_display_()
        (widget, plain, _), (saved, transient, update) = notebook.published
        assert WIDGET in widget and plain is None and WIDGET not in saved
        assert not update and "<table" not in saved["text/html"]
        ex._cell_ended()
        assert notebook.published[-1][1:] == (transient, True) and "<table" in notebook.pictures[-1]


def test_without_a_notebook_ipython_shows_it_its_own_way(model, images):
    with nnwidget.explore(model, images) as ex, pytest.raises(NotImplementedError):
        ex._ipython_display_()


def counted(monkeypatch, ex):
    made = []
    make = ex._still._make
    monkeypatch.setattr(ex._still, "_make", lambda: made.append(1) or make())
    return made


def test_none_is_made_unless_somebody_displayed_it(model, images, notebook, monkeypatch):
    with nnwidget.explore(model, images) as ex:
        made = counted(monkeypatch, ex)
        ex._cell_ended()
        ex.layers.selected = ["2"]
        ex._still._due()
        ex._cell_ended()
        assert made == [] and notebook.published == []


def step(model, images, optimizer):
    optimizer.zero_grad()
    model(images).sum().backward()
    optimizer.step()


def test_none_is_made_while_a_loop_runs_and_one_when_its_cell_ends(model, images, notebook, monkeypatch):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with nnwidget.explore(model, images) as ex:
        before = picture(ex, notebook)
        made = counted(monkeypatch, ex)
        ex._cell_began()
        for _ in range(20):
            step(model, images, optimizer)
            ex._still._job()
        assert made == []
        ex._cell_ended()
        assert made == [1]
        assert notebook.pictures[-1] != before and "after 20 training steps" in notebook.pictures[-1]


def test_what_did_not_change_is_not_sent_again(model, images, notebook):
    with nnwidget.explore(model, images) as ex:
        picture(ex, notebook)
        sent = len(notebook.published)
        ex._still._job()
        assert len(notebook.published) == sent
        ex.layers.selected = ["4"]
        ex._still._job()
        assert len(notebook.published) == sent + 1


def test_a_choice_is_followed_from_the_event_loop(model, images, notebook, monkeypatch):
    monkeypatch.setattr(still_keeping, "_SETTLE", 0.01)

    async def run():
        with nnwidget.explore(model, images) as ex:
            before = picture(ex, notebook)
            threading.Thread(target=lambda: ex.layers.write({"selected": ["4"]})).start()

            async def changed():
                while notebook.pictures[-1] == before:
                    await asyncio.sleep(0.01)

            await asyncio.wait_for(changed(), 20)
            return notebook.pictures[-1]

    assert "Weights of 4" in asyncio.run(run())


def test_the_next_one_waits_fifty_times_as_long_as_one_took(model, images, notebook, monkeypatch):
    with nnwidget.explore(model, images) as ex:
        ex._ipython_display_()
        ex._cell_ended()
        waits = []
        monkeypatch.setattr(ex._session.owner, "later", lambda seconds, work: waits.append(seconds) or True)
        ex._still._planned, ex._still._cost = False, 0.4
        ex._still.changed()
        assert waits == [pytest.approx(20)]


def test_a_closed_explorer_makes_none(model, images, notebook, monkeypatch):
    ex = nnwidget.explore(model, images)
    picture(ex, notebook)
    keeper, sent = ex._still, len(notebook.published)
    ex.close()
    for call in (keeper.changed, keeper.stepped, keeper.cell_ended, keeper._due, keeper._job):
        call()
    assert len(notebook.published) == sent


def test_a_picture_that_fails_costs_no_cell(model, images, notebook, monkeypatch, caplog):
    with nnwidget.explore(model, images) as ex:
        ex._ipython_display_()
        monkeypatch.setattr(ex._still, "_make", lambda: 1 / 0)
        ex._cell_ended()
        ex._cell_ended()
    assert caplog.text.count("could not make the picture") == 1


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3), (3, 5, 4), (1, 1)])
@pytest.mark.parametrize("scale", [1, 3])
def test_png_files_hold_their_pixels(shape, scale):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, shape, np.uint8)
    palette = random.integers(0, 256, (256, 4), np.uint8) if len(shape) == 2 else None
    image = Image.open(io.BytesIO(png(pixels, palette, scale=scale)))
    mode = "RGB" if shape[2:] == (3,) else "RGBA"
    truth = pixels if palette is None else palette[pixels]
    assert np.array_equal(np.array(image.convert(mode)), truth.repeat(scale, 0).repeat(scale, 1))
