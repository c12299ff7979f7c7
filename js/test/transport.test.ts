import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Handshake } from "../src/wire/handshake";
import type { AnyModel, Listener } from "../src/wire/model";
import { Transport } from "../src/wire/transport";
import type { ToPage, ToPython } from "../src/wire/types";

const ack = (seq: number): ToPython => ({ k: "ack", client: "c", seq });

let sent: { at: number; message: ToPython }[];
let listeners: Map<string, Listener>;
let control: { content: { comm_id: string; data: ToPython } }[];
let kernel: { status: string; sendControlMessage(message: unknown): void };
let closing: AbortController;
let received: ToPage[];
let faults: Error[];
let transport: Transport;

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ["setTimeout", "clearTimeout", "performance", "requestAnimationFrame", "cancelAnimationFrame"],
  });
  sent = [];
  listeners = new Map();
  control = [];
  received = [];
  faults = [];
  kernel = { status: "idle", sendControlMessage: (message) => control.push(message as (typeof control)[number]) };
  const model: AnyModel = {
    get: (name) => (name === "address" ? "mine" : undefined),
    on: (event, listener) => listeners.set(event, listener),
    off: (event) => listeners.delete(event),
    send: (message) => sent.push({ at: performance.now(), message: message as ToPython }),
    widget_manager: { kernel },
  };
  closing = new AbortController();
  const hooks = {
    onMessage: (message: ToPage) => received.push(message),
    onFault: (error: Error) => faults.push(error),
    onKernel: () => {},
  };
  transport = new Transport(model, hooks, closing.signal);
});
afterEach(() => vi.useRealTimers());

describe("Transport", () => {
  it("sends the first message at once", () => {
    transport.post(ack(1));
    expect(sent.length).toBe(1);
  });

  it("keeps below fifty messages in any second and loses none that has no key", async () => {
    for (let seq = 0; seq < 120; seq++) {
      transport.post(ack(seq));
      await vi.advanceTimersByTimeAsync(3);
    }
    await vi.advanceTimersByTimeAsync(5000);
    expect(sent.map(({ message }) => (message as { seq: number }).seq)).toEqual([...Array(120).keys()]);
    for (const { at } of sent) {
      expect(sent.filter((other) => other.at >= at && other.at < at + 1000).length).toBeLessThanOrEqual(50);
    }
  });

  it("sends only the newest of a key within a frame", async () => {
    for (let seq = 0; seq < 6; seq++) transport.post(ack(seq), "key");
    await vi.advanceTimersByTimeAsync(100);
    expect(sent.map(({ message }) => (message as { seq: number }).seq)).toEqual([0, 5]);
  });

  it("takes the control channel only where that is the way in, and only while the kernel is busy", async () => {
    expect(transport.control).toBe(true);
    transport.setStatus({ state: "idle", regime: "control" });
    transport.post(ack(1));
    kernel.status = "busy";
    await vi.advanceTimersByTimeAsync(100);
    transport.post(ack(2));
    expect(sent.map(({ message }) => message)).toEqual([ack(1)]);
    expect(control.map(({ content }) => content)).toEqual([{ comm_id: "mine", data: ack(2) }]);
  });

  it("believes Python rather than Jupyter that a cell still runs", () => {
    transport.setStatus({ state: "training", regime: "control" });
    kernel.status = "idle";
    transport.post(ack(1));
    expect(control.length).toBe(1);
    expect(sent).toEqual([]);
  });

  it("stays on the comm in every other regime", async () => {
    kernel.status = "busy";
    transport.setStatus({ state: "training", regime: "subshell" });
    transport.post(ack(1));
    expect(control).toEqual([]);
    expect(sent.length).toBe(1);
  });

  it("reports a message it cannot read and goes on", () => {
    listeners.get("msg:custom")?.({ k: "look", a: { $array: 0, dtype: "u8", shape: [9] } }, []);
    listeners.get("msg:custom")?.({ k: "status", status: {} }, []);
    expect(faults[0]?.message).toContain("without its bytes");
    expect(received.length).toBe(1);
  });

  it("leaves no listener and sends nothing after the abort", async () => {
    transport.post(ack(1));
    transport.post(ack(2));
    closing.abort();
    transport.post(ack(3));
    await vi.advanceTimersByTimeAsync(1000);
    expect(listeners.size).toBe(0);
    expect(sent.length).toBe(1);
  });
});

describe("Handshake", () => {
  it("repeats its hello every 250 ms until it is welcomed", async () => {
    const hellos: ToPython[] = [];
    const handshake = new Handshake((message) => hellos.push(message), "c", true, closing.signal);
    await vi.advanceTimersByTimeAsync(1100);
    expect(hellos.length).toBe(5);
    expect(hellos[0]).toEqual({ k: "hello", v: 1, client: "c", control: true });
    handshake.welcome();
    await vi.advanceTimersByTimeAsync(5000);
    expect(hellos.length).toBe(5);
  });

  it("tries the control channel now and then, where there is one", async () => {
    const ways: boolean[] = [];
    new Handshake((_, byControl) => ways.push(byControl), "c", true, closing.signal);
    await vi.advanceTimersByTimeAsync(2400);
    expect(ways).toEqual([false, false, false, false, true, false, false, false, false, true]);
    const others: boolean[] = [];
    new Handshake((_, byControl) => others.push(byControl), "c", false, closing.signal);
    await vi.advanceTimersByTimeAsync(2400);
    expect(others).not.toContain(true);
  });

  it("slows down when nobody answers, and stops when the widget closes", async () => {
    const hellos: ToPython[] = [];
    new Handshake((message) => hellos.push(message), "c", true, closing.signal);
    await vi.advanceTimersByTimeAsync(70_000);
    expect(hellos.length).toBeGreaterThan(40);
    expect(hellos.length).toBeLessThan(80);
    closing.abort();
    const before = hellos.length;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(hellos.length).toBe(before);
  });
});
