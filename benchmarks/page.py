"""Click to pixels, and a dragged slider, in a real JupyterLab; against an empty round trip of a bare widget beside it.

Run with ``python -m benchmarks.page``; prints lines of JSON and fails when a limit is exceeded.
"""

from __future__ import annotations

import json
import statistics as middle
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.e2e.lab import Lab, NotebookPage, launch
from tests.e2e.microscope import EXPLORE, SETUP, Microscope
from tests.e2e.server import serving

LIMIT = 3.0
SETTLE_MS = 150
FRAMES = 50
LAYERS = ("features.3", "features.0", "features.5", "features.2") * 4

ECHO = """
import anywidget, time
from nnwidget.widgets.comms import keep_on_subshell
class Echo(anywidget.AnyWidget):
    _esm = '''export default { render({ model, el }) {
        el.className = "echo";
        window.echo = () => new Promise(done => {
            const start = performance.now();
            const back = () => { model.off("msg:custom", back); done(performance.now() - start); };
            model.on("msg:custom", back);
            model.send({});
        });
    } }'''
echo = Echo()
keep_on_subshell(echo)
echo.on_msg(lambda widget, content, buffers: widget.send({}))
echo
"""
# What one click costs of the model's own time, and how many questions were open at once.
WATCH = """
import torch, time
model.eval()
def forward_ms():
    with torch.no_grad():
        times = []
        for _ in range(20):
            start = time.perf_counter(); model(images[1500:1501]); times.append(time.perf_counter() - start)
    return sorted(times)[10] * 1e3
open_at_once = []
dispatcher = ex._panels.dispatcher(ex.widget)
real = dispatcher._route
def route(content):
    real(content)
    open_at_once.append(sum(t.request.method == "look" for t in list(dispatcher._open.values())))
dispatcher._route = route
print(forward_ms())
"""
CLICK = """async name => {
    const root = document.querySelector('.nnw');
    const start = performance.now();
    root.querySelector(`[role=treeitem][data-layer="${name}"]`).click();
    await new Promise(done => {
        const look = () => root.querySelector('.nnw-layer-name')?.textContent === name
            && !root.querySelector('.nnw-stale') ? done() : requestAnimationFrame(look);
        requestAnimationFrame(look);
    });
    return performance.now() - start;
}"""
COUNT = """() => {
    window.frames60 = []; window.counting = true;
    const tick = now => { window.frames60.push(now); if (window.counting) requestAnimationFrame(tick); };
    requestAnimationFrame(tick);
}"""
SETTLED = """async () => {
    const root = document.querySelector('.nnw');
    const start = performance.now();
    await new Promise(done => {
        const look = () => !root.querySelector('.nnw-stale') && !root.querySelector('[aria-busy=true]')
            ? done() : requestAnimationFrame(look);
        requestAnimationFrame(look);
    });
    return performance.now() - start;
}"""


def pairs(notebook: NotebookPage) -> tuple[list[float], list[float]]:
    """Alternate round trips and clicks."""
    trips, clicks = [], []
    for layer in LAYERS:
        trips.append(float(notebook.page.evaluate("() => window.echo()")))
        clicks.append(float(notebook.page.evaluate(CLICK, layer)))
        notebook.page.wait_for_timeout(60)
    return trips, clicks


def click(name: str, notebook: NotebookPage, forward: float) -> dict[str, object]:
    """Measure clicks beyond the model's own forward against round trips."""
    trips, clicks = pairs(notebook)
    trip, taken = middle.median(trips), middle.median(clicks)
    detail = {"click_ms": round(taken, 1), "round_trip_ms": round(trip, 1), "forward_ms": round(forward, 2)}
    return {"name": name, "ratio": round((taken - forward) / trip, 2), "limit": LIMIT, "detail": detail}


def drag(notebook: NotebookPage, scope: Microscope) -> dict[str, object]:
    """Drag the slider for two seconds, then let go."""
    page = notebook.page
    scope.choose("features.0")
    scope.shows("features.0")
    scope.tiles().first.click()
    scope.slider().scroll_into_view_if_needed()
    box = scope.slider().bounding_box()
    assert box is not None
    middle_y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle_y)
    page.mouse.down()
    page.evaluate(COUNT)
    start = page.evaluate("() => performance.now()")
    step = 0
    while page.evaluate("() => performance.now()") - start < 2000:
        step += 1
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.45 * ((step % 40) / 20 - 1)), middle_y)
    page.evaluate("() => { window.counting = false; }")
    page.mouse.move(box["x"] + box["width"] * 0.2, middle_y)
    page.mouse.up()
    settled = float(page.evaluate(SETTLED))
    frames = page.evaluate("() => 1000 * (window.frames60.length - 1) / (window.frames60.at(-1) - window.frames60[0])")
    shown = scope.slider().get_attribute("aria-valuenow")
    page.wait_for_timeout(500)
    kept, in_flight, cost = json.loads(
        notebook.ask(
            "import json; from nnwidget.wire.messages import Look, PageEdit\n"
            "start = time.perf_counter(); ex.predictions(); cost = time.perf_counter() - start\n"
            "print(json.dumps([ex.widget.edits[0]['factor'], max(open_at_once), cost * 1e3]))"
        )
    )
    assert float(shown or "nan") == kept, (shown, kept)
    detail = {
        "moves": step,
        "most_in_flight": in_flight,
        "settled_ms": round(settled, 1),
        "settled_limit_ms": round(SETTLE_MS + cost, 1),
        "frames_per_second": round(frames, 1),
        "frames_limit": FRAMES,
    }
    return {
        "name": "drag for two seconds",
        "ratio": round(settled / (SETTLE_MS + cost), 2),
        "limit": 1.0,
        "detail": detail,
    }


def main() -> int:
    """Print the results; 1 when a limit is exceeded."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server, sync_playwright() as playwright:
        chromium = launch(playwright)
        lab = Lab(server, chromium)
        notebook = lab.open([SETUP, EXPLORE, ECHO, WATCH, "train(4000, wait=0.005)"])
        for index in range(4):
            notebook.run(index)
        forward = float(notebook.output_text(3))
        scope = Microscope(notebook).wait()
        pairs(notebook)
        results = [click("click to pixels, idle", notebook, forward), drag(notebook, scope)]
        scope.button("Undo all").click()
        notebook.run_async(4)
        notebook.page.wait_for_timeout(1500)
        results.append(click("click to pixels, busy cell", notebook, forward))
        assert notebook.busy(), "the loop must last as long as the measurement"
        lab.close()
        chromium.close()
    for result in results:
        print(json.dumps(result))
    detail = results[1]["detail"]
    assert isinstance(detail, dict)
    smooth = detail["most_in_flight"] <= 1 and detail["frames_per_second"] >= FRAMES
    return int(not smooth or any(float(str(r["ratio"])) > float(str(r["limit"])) for r in results))


if __name__ == "__main__":
    sys.exit(main())
