"""Cells for the tests of messages during a busy cell: a tiny widget of our own, a slider and a selector beside it."""

from __future__ import annotations

SETUP = """
import json, os, threading, time
import anywidget, bqplot, ipywidgets, numpy as np, traitlets
from bqplot.interacts import BrushIntervalSelector
from nnwidget.widgets import comms, control, polling

class Probe(anywidget.AnyWidget):
    _esm = '''
    export default {
      render({ model, el }) {
        el.className = "probe";
        const state = { frames: 0, seen: {}, sent: {}, acks: [], replies: 0, model };
        window.probe = state;
        model.on("msg:custom", (content) => {
          if (content.kind === "frame") { state.frames += 1; state.seen = content.seen; }
          if (content.kind === "ack") state.acks.push([content.n, performance.now() - state.sent[content.n]]);
        });
        state.send = (n) => { state.sent[n] = performance.now(); model.send({ kind: "page", n }); };
        state.control = (n) => {
          const { kernel } = model.widget_manager;
          state.sent[n] = performance.now();
          const header = { date: new Date().toISOString(), msg_id: crypto.randomUUID(), msg_type: "nnwidget_request",
            session: kernel.clientId, username: kernel.username, version: "5.3" };
          const content = { comm_id: model.get("address"), data: { kind: "control", n } };
          const future = kernel.sendControlMessage(
            { channel: "control", header, parent_header: {}, metadata: {}, content, buffers: [] }, true, true);
          future.onReply = (reply) => { state.replies += reply.content.status === "ok" ? 1 : 0; };
        };
      },
    };
    '''
    address = traitlets.Unicode().tag(sync=True)

busy = False
events = []
def note(kind, n=None):
    events.append({"kind": kind, "n": n, "busy": busy, "thread": threading.current_thread().name})
def from_page(content):
    note(content["kind"], content["n"])
    probe.send({"kind": "ack", "n": content["n"]})

probe = Probe()
probe.address = probe.model_id
probe.on_msg(lambda widget, content, buffers: from_page(content))
slider = ipywidgets.IntSlider(min=0, max=1000, description="0")
slider.observe(lambda change: note("slider", change["new"]), "value")
scales = {"x": bqplot.LinearScale(min=0, max=1), "y": bqplot.LinearScale(min=0, max=1)}
line = bqplot.Lines(x=np.linspace(0, 1, 50), y=np.linspace(0, 1, 50), scales=scales)
selector = BrushIntervalSelector(scale=scales["x"], marks=[line])
selector.observe(lambda change: note("selector"), "selected")
figure = bqplot.Figure(marks=[line], interaction=selector, layout=dict(width="500px", height="250px"))
"""

REMEDY = """
comms.keep_on_subshell(probe)
comms.keep_live(slider, figure)
"""

CONTROL = "print(control.install(lambda comm_id, data: from_page(data) if comm_id == probe.model_id else None))"

SHOW = "display(probe, slider, figure)"

LOOP = """
from torch import nn
import torch
torch.set_num_threads(1)
net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(net.parameters(), 0.01)
x, t = torch.randn(64, 32), torch.randint(0, 10, (64,))
events.clear()
busy = True
step, polls, begun = 0, 0, time.monotonic()
while not os.path.exists("enough") and time.monotonic() < begun + 300:
    nn.functional.cross_entropy(net(x), t).backward()
    optimizer.step()
    optimizer.zero_grad()
    step += 1
    if step % 20 == 0:
        seen = {kind: sum(event["kind"] == kind for event in events) for kind in ("slider", "selector")}
        probe.send({"kind": "frame", "step": step, "seen": seen}, [bytes(4096)])
        slider.description = str(step)
        line.stroke_width = 1 + step % 3
        selector.color = ["red", "green"][step // 20 % 2]
    POLL
    time.sleep(0.001)
busy = False
os.remove("enough")
print(step)
"""

REPORT = "print(json.dumps(events))"


def loop(poll: bool = False) -> str:
    """Return a training cell that publishes on every comm until a file named ``enough`` appears, polling or not.

    The file ends it on every kind of kernel, also where no message can.
    """
    return LOOP.replace("POLL", "polls += polling.poll_if_due()" if poll else "pass")
