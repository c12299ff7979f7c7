import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { asWireError, Rpc, type RpcError } from "../src/wire/rpc";
import type { ToPython } from "../src/wire/types";

type Request = Extract<ToPython, { k: "request" }>;

let posted: ToPython[];
let busy: boolean;
let closing: AbortController;
let rpc: Rpc;

const requests = () => posted.filter((message): message is Request => message.k === "request");
const cancels = () => posted.filter((message) => message.k === "cancel").map((message) => message.id);
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => null,
    (error) => error as RpcError,
  );
const ok = (id: number, result: unknown) => rpc.receive({ k: "response", client: "c", id, ok: true, result });
const settled = () => new Promise((resolve) => setTimeout(resolve, 0));
const code = { edits: [] };

beforeEach(() => {
  posted = [];
  busy = false;
  closing = new AbortController();
  rpc = new Rpc({ client: "c", post: (message) => posted.push(message), patient: () => busy }, closing.signal);
});
afterEach(() => vi.useRealTimers());

describe("request", () => {
  it("gives each answer to its own question, in any order", async () => {
    const [first, second] = [rpc.request("code", code), rpc.request("code", code)];
    const [one, two] = requests();
    ok(two?.id as number, { code: "two" });
    ok(one?.id as number, { code: "one" });
    expect(await first).toEqual({ code: "one" });
    expect(await second).toEqual({ code: "two" });
    expect(rpc.inFlight).toBe(0);
  });

  it("turns an error that travelled as data into a rejection with its words", async () => {
    const lost = failure(rpc.request("code", code));
    const error = { type: "InputError", message: "No such layer.", layer: "x", argument: null, remedy: "Use y." };
    rpc.receive({ k: "response", client: "c", id: 1, ok: false, error });
    expect((await lost)?.failure).toBe("failed");
    expect(asWireError(await lost)).toEqual(error);
  });

  it("settles once: a second answer and a cancel after it change nothing", async () => {
    const abort = new AbortController();
    const answer = rpc.request("code", code, { signal: abort.signal });
    ok(1, { code: "first" });
    ok(1, { code: "second" });
    abort.abort();
    expect(await answer).toEqual({ code: "first" });
    expect(cancels()).toEqual([]);
  });

  it("tells Python of a cancel and drops the answer that still comes", async () => {
    const abort = new AbortController();
    const lost = failure(rpc.request("code", code, { signal: abort.signal }));
    abort.abort();
    ok(1, { code: "late" });
    expect((await lost)?.quiet).toBe(true);
    expect(cancels()).toEqual([1]);
  });

  it("sends nothing when it was cancelled before it began", async () => {
    expect((await failure(rpc.request("code", code, { signal: AbortSignal.abort() })))?.failure).toBe("cancelled");
    expect(posted).toEqual([]);
  });

  it("runs out of time in plain words, but not while the kernel is known to be busy", async () => {
    vi.useFakeTimers();
    busy = true;
    const lost = failure(rpc.request("code", code, { timeout: 1000 }));
    await vi.advanceTimersByTimeAsync(5000);
    expect(rpc.inFlight).toBe(1);
    busy = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect((await lost)?.message).toBe("Python did not answer within 1 s.");
    expect((await lost)?.wire.remedy).toContain("run the cell again");
    expect(cancels()).toEqual([1]);
  });

  it("settles what is open when the widget closes", async () => {
    const lost = failure(rpc.request("code", code));
    closing.abort();
    expect((await lost)?.quiet).toBe(true);
    expect(rpc.inFlight).toBe(0);
  });
});

describe("slot", () => {
  it("keeps one in flight, and of those asked for meanwhile sends only the last", async () => {
    const slot = rpc.slot("inputs");
    const all = [1, 2, 3, 4].map((edge) => failure(slot.call({ edge })));
    expect(requests().map((request) => request.params)).toEqual([{ edge: 1 }]);
    ok(1, {});
    await settled();
    expect(requests().map((request) => request.params)).toEqual([{ edge: 1 }, { edge: 4 }]);
    ok(2, {});
    const outcomes = (await Promise.all(all)).map((error) => error?.failure ?? "answered");
    expect(outcomes).toEqual(["answered", "superseded", "superseded", "answered"]);
    expect(slot.busy).toBe(false);
  });

  it("cancels what is in flight when its answer would be of no use", async () => {
    const slot = rpc.slot("inputs");
    const first = failure(slot.call({ edge: 1 }));
    void failure(slot.call({ edge: 2 }, { replace: true }));
    await settled();
    expect((await first)?.failure).toBe("cancelled");
    expect(posted.map((message) => message.k)).toEqual(["request", "cancel", "request"]);
  });

  it("goes on after a failure", async () => {
    const slot = rpc.slot("inputs");
    const first = failure(slot.call({ edge: 1 }));
    void failure(slot.call({ edge: 2 }));
    const error = { type: "E", message: "no", layer: null, argument: null, remedy: null };
    rpc.receive({ k: "response", client: "c", id: 1, ok: false, error });
    await first;
    await settled();
    expect(requests().length).toBe(2);
  });

  it("says since when it is busy and when it is not", async () => {
    const since: (number | null)[] = [];
    const slot = rpc.slot("inputs", (time) => since.push(time));
    void failure(slot.call({ edge: 1 }));
    ok(1, {});
    await settled();
    expect(since.map((time) => time === null)).toEqual([false, true]);
  });

  it("forgets what waits when it is cancelled", async () => {
    const slot = rpc.slot("inputs");
    const both = [failure(slot.call({ edge: 1 })), failure(slot.call({ edge: 2 }))];
    slot.cancel();
    await Promise.all(both);
    await settled();
    expect(requests().length).toBe(1);
    expect(slot.busy).toBe(false);
  });
});
