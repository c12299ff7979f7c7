import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DurableState } from "../src/state/durable";
import type { AnyModel, Listener } from "../src/wire/model";
import type { Durable } from "../src/wire/types";

interface Sent {
  patch: Partial<Durable>;
  answer(): void;
  refuse(): void;
}

let traits: Record<string, unknown>;
let listeners: Map<string, Set<Listener>>;
let sent: Sent[];
let closing: AbortController;
let state: DurableState;

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

function write(key: keyof Durable, value: unknown): void {
  traits[key] = value;
  for (const listener of listeners.get(`change:${key}`) ?? []) listener();
}

beforeEach(() => {
  traits = { input: 2, channel: -1, selected: ["a"] };
  listeners = new Map();
  sent = [];
  closing = new AbortController();
  const model: AnyModel = {
    get: (key) => traits[key],
    on: (event, listener) => listeners.set(event, new Set([...(listeners.get(event) ?? []), listener])),
    off: (event, listener) => listeners.get(event)?.delete(listener),
    send: () => {},
  };
  const send = (patch: Partial<Durable>) =>
    new Promise((resolve, reject) => {
      sent.push({ patch, answer: () => resolve(null), refuse: () => reject(new Error("no")) });
    });
  state = new DurableState(model, send, closing.signal);
});

afterEach(() => vi.useRealTimers());

describe("DurableState", () => {
  it("begins with the traits, and with defaults where Python has none", () => {
    expect(state.signals.input.value).toBe(2);
    expect(state.signals.scaling.value).toBe("layer");
  });

  it("follows a trait that Python writes", () => {
    write("input", 5);
    expect(state.signals.input.value).toBe(5);
  });

  it("shows a choice at once and sends what was chosen in one turn together", async () => {
    state.set({ input: 1 });
    state.set({ channel: 7 });
    expect(state.signals.input.value).toBe(1);
    await turn();
    expect(sent.map(({ patch }) => patch)).toEqual([{ input: 1, channel: 7 }]);
  });

  it("sends nothing for a choice that changes nothing", async () => {
    state.set({ selected: ["a"] });
    await turn();
    expect(sent).toEqual([]);
  });

  it("ignores older values while its own choice is on the way", async () => {
    state.set({ channel: 7 });
    await turn();
    write("channel", 3);
    expect(state.signals.channel.value).toBe(7);
    write("channel", 7);
    sent[0]?.answer();
    await turn();
    expect(state.signals.channel.value).toBe(7);
  });

  it("takes what Python wrote after its own choice had arrived", async () => {
    state.set({ channel: 7 });
    await turn();
    write("channel", 7);
    write("channel", 9);
    sent[0]?.answer();
    await turn();
    expect(state.signals.channel.value).toBe(9);
    write("channel", 4);
    expect(state.signals.channel.value).toBe(4);
  });

  it("keeps one request on the way and the newest choice waiting", async () => {
    for (const channel of [1, 2, 3]) {
      state.set({ channel });
      await turn();
    }
    expect(sent.length).toBe(1);
    write("channel", 1);
    sent[0]?.answer();
    await turn();
    expect(sent.map(({ patch }) => patch)).toEqual([{ channel: 1 }, { channel: 3 }]);
    expect(state.signals.channel.value).toBe(3);
    write("channel", 2);
    expect(state.signals.channel.value).toBe(3);
  });

  it("goes back to the trait when Python refuses", async () => {
    state.set({ input: 99 });
    await turn();
    sent[0]?.refuse();
    await turn();
    expect(state.signals.input.value).toBe(2);
  });

  it("keeps a slider when it rests", async () => {
    vi.useFakeTimers();
    for (const factor of [0.9, 0.8, 0.7]) state.set({ edits: [{ layer: "a", op: "scale", channel: 0, factor }] }, 20);
    await vi.advanceTimersByTimeAsync(19);
    expect(sent).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(sent.map(({ patch }) => patch.edits?.[0]?.factor)).toEqual([0.7]);
  });

  it("takes a welcome except where a choice is open", async () => {
    state.set({ channel: 7 });
    state.adopt({ channel: 1, input: 0 });
    expect(state.signals.channel.value).toBe(7);
    expect(state.signals.input.value).toBe(0);
  });

  it("leaves no listener behind", () => {
    closing.abort();
    expect([...listeners.values()].every((set) => set.size === 0)).toBe(true);
  });
});
