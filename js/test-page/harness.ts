/**
 * The widget in a plain page: `npm run dev`, then serve this folder. The address chooses what is seen:
 * `?entry=explorer&theme=dark&width=900&layers=2000&state=training&inputs=40&delay=300&pictures=no`.
 */
import type { Widget } from "../src/wire/model";
import type { Status } from "../src/wire/types";
import { hugeNet, mobileNet } from "./mock_data";
import { IDLE, MockModel } from "./mock_model";

const query = new URLSearchParams(location.search);
const entry = query.get("entry") ?? "explorer";
const dark = query.get("theme") === "dark";
document.body.dataset["jpThemeLight"] = String(!dark);
document.body.style.background = dark ? "#111418" : "#fff";

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = `dist/${entry}.css`;
document.head.append(style);

const states: Record<string, Partial<Status>> = {
  training: { state: "training", step: 2400, interval: 0.3 },
  slow: { state: "training", step: 2400, interval: 4.2 },
  busy: { state: "busy" },
  after: { state: "training", step: 12, interval: 1, regime: "after-cell" },
  error: { error: "The tap on features.3 failed and was taken off; training goes on." },
  closed: { state: "closed" },
};
const layers = Number(query.get("layers") ?? 0);
const model = new MockModel({
  rows: layers > 0 ? hugeNet(layers) : mobileNet(),
  inputs: Number(query.get("inputs") ?? 4),
  pictures: query.get("pictures") !== "no",
  delay: Number(query.get("delay") ?? 30),
  status: { ...IDLE, ...states[query.get("state") ?? ""] },
  durable: layers > 0 ? {} : { selected: [query.get("layer") ?? "features.3"], channel: 12 },
});
const place = document.getElementById("place") as HTMLElement;
const width = query.get("width");
if (width !== null) place.style.width = `${width}px`;

const module = await import(new URL(`dist/${entry}.js`, location.href).href);
const widget: Widget = typeof module.default === "function" ? await module.default() : module.default;
const controller = new AbortController();
await widget.initialize({ model, signal: controller.signal });
await widget.render({ model, el: place, signal: controller.signal });
if (query.get("state") === "training") {
  let step = 2400;
  setInterval(() => model.pushLook(++step), 500);
}
Object.assign(window, { harness: { model, controller } });
