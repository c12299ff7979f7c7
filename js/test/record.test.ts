import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { spanOf } from "../src/ui/training/panel";
import { recordSize, recordWords, shortPath } from "../src/ui/training/record";
import { playWords } from "../src/ui/training/words";
import type { Play, RecordFacts, Status } from "../src/wire/types";
import { charts, curve, i32, recorded } from "./training_fixtures";
import { show } from "./training_kernel";

const IDLE: Status = { state: "idle", regime: "subshell", step: null, interval: null, error: "" };
const said = (play: Play, silence = 0, busy = false) => {
  const words = recordWords(play, play.record as RecordFacts, { silence, busy });
  return [words.mark, [words.text, words.warning].filter(Boolean).join(" | ")];
};

describe("the words for a history", () => {
  it.each<[Partial<Play>, Partial<RecordFacts>, number, boolean, string, string]>([
    [{}, {}, 0, false, "live", "following · step 1,240 · last written 2 s ago · runs/a"],
    [{ ago: 0 }, {}, 0, false, "live", "following · step 1,240 · last written 1 s ago · runs/a"],
    [{ ago: 2 }, {}, 4, false, "live", "following · step 1,240 · last written 6 s ago · runs/a"],
    [{ ago: 2 }, {}, 8, false, "idle", "not written to for 10 s · step 1,240 · runs/a"],
    [{ ago: 40 }, {}, 0, false, "idle", "not written to for 40 s · step 1,240 · runs/a"],
    [{ ago: 9000 }, {}, 0, false, "idle", "not written to for 3 h · step 1,240 · runs/a"],
    [{ step: 0 }, { empty: true }, 0, false, "live", "following · no step yet · last written 2 s ago · runs/a"],
    [{}, {}, 16, false, "waiting", "following · step 1,240 | last read 16 s ago"],
    [{}, {}, 4, true, "live", "following · step 1,240 · last written 6 s ago · runs/a"],
    [{}, {}, 40, true, "waiting", "following · step 1,240 | a cell keeps the kernel busy: last read 40 s ago"],
    [{ ago: 2 }, { ended: true }, 3, false, "idle", "ended 5 s ago · step 1,240 · runs/a"],
    [{ ago: 600 }, { ended: true }, 0, false, "idle", "ended 10 min ago · step 1,240 · runs/a"],
    [{}, { lost: true }, 0, false, "gone", "no longer followed · step 1,240 · runs/a"],
    [{}, { kind: "file", path: "a.nnw" }, 99, false, "idle", "saved in a.nnw · step 1,240"],
    [{}, { kind: "memory", path: "" }, 0, false, "live", "kept in memory · step 1,240 · grew 2 s ago"],
    [{ ago: null }, { kind: "memory", path: "" }, 0, false, "idle", "kept in memory · step 1,240"],
    [{ ago: 60 }, { kind: "memory", path: "" }, 0, false, "idle", "kept in memory · step 1,240"],
  ])("%j of %j, silent for %d s, busy %s: %s, %s", (change, record, silence, busy, mark, words) => {
    expect(said(recorded(change, record), silence, busy)).toEqual([mark, words]);
  });

  it("never say that it runs", () => {
    for (const silence of [0, 5, 60]) expect(said(recorded(), silence).join(" ")).not.toMatch(/running|training/);
  });

  it("say what became of the panel and of the kernel", () => {
    const facts = { play: recorded(), status: IDLE, kernelBusy: false };
    expect(playWords({ ...facts, connection: "gone" }).warning).toBe("run the cells again to see it again");
    const closed = playWords({ ...facts, connection: "gone", status: { ...IDLE, state: "closed" } });
    expect([closed.text, closed.warning]).toEqual(["closed", "show the history again to follow it"]);
    expect(playWords({ ...facts, connection: "ready", silence: 1 }).text).toContain("last written 3 s ago");
  });

  it("name the end of a long path", () => {
    expect(shortPath("runs/a")).toBe("runs/a");
    const long = shortPath("/scratch/users/somebody/experiments/2026/run-17");
    expect(long).toBe("…/experiments/2026/run-17");
    expect(shortPath("/tmp/a-folder-with-a-name-that-is-much-too-long/run")).toBe("…/run");
    expect(shortPath(`/x/${"y".repeat(60)}`)).toHaveLength(33);
  });

  it("say what the training was", () => {
    const { record } = recorded({}, { rank: 1, ranks: 4 }) as { record: RecordFacts };
    expect(recordSize(record)).toBe("12.3 k parameters · rank 1 of 4");
    expect(recordSize(record, true)).toBe("12,330 parameters · rank 1 of 4");
    expect(recordSize({ ...record, parameters: null, rank: null })).toBe("");
  });
});

describe("the panel of a history", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
    document.body.replaceChildren();
  });
  const wait = (seconds: number) => vi.advanceTimersByTimeAsync(1000 * seconds);
  const history = (change: Partial<Play> = {}, record: Partial<RecordFacts> = {}, status: Partial<Status> = {}) =>
    charts({ play: recorded({ step: 40, ...change }, record), status: { ...IDLE, ...status } });

  it("says what it reads and what the training was, and steers nothing", async () => {
    const { root } = await show(history());
    expect(root.querySelector(".nnw-state")?.textContent).toBe("following · step 40 · last written 2 s ago · runs/a");
    expect(root.querySelector(".nnw-header")?.textContent).toContain("DigitsNet12.3 k parameters");
    expect(root.querySelector(".nnw-controls")).toBeNull();
    expect(root.querySelector("[role=status]")?.textContent).toBe("following");
  });

  it("counts the seconds by itself, and asks only when Python has been silent for long", async () => {
    const { kernel, root } = await show(history());
    const state = () => root.querySelector(".nnw-state")?.textContent;
    await wait(4);
    expect(state()).toMatch(/last written [56] s ago/);
    expect(kernel.asked("charts")).toHaveLength(1);
    kernel.result = history({ ago: 40 });
    await wait(8);
    expect(kernel.asked("charts")).toHaveLength(2);
    expect(state()).toMatch(/not written to for 4\d s/);
  });

  it("asks every second while a cell keeps the kernel at work, and shows what it is told", async () => {
    const { kernel, root } = await show(history({}, {}, { state: "busy" }));
    kernel.result = history({ step: 90 }, {}, { state: "busy" });
    await wait(3.5);
    expect(kernel.asked("charts").length).toBeGreaterThanOrEqual(3);
    expect(root.querySelector(".nnw-state")?.textContent).toContain("step 90");
  });

  it("asks one question at a time where nobody answers, and says how old the picture is", async () => {
    const { kernel, root } = await show(history({}, {}, { state: "busy" }));
    kernel.deaf = true;
    await wait(30);
    expect(kernel.asked("charts")).toHaveLength(2);
    expect(kernel.sent.filter(({ k }) => k === "cancel")).toHaveLength(0);
    expect(root.querySelector(".nnw-state")?.textContent).toMatch(/a cell keeps the kernel busy: last read \d+ s ago/);
  });

  it("leaves a packed file and a hidden panel alone", async () => {
    const { kernel } = await show(history({}, { kind: "file" }));
    await wait(30);
    expect(kernel.asked("charts")).toHaveLength(1);
    const other = await show(history());
    other.controller.abort();
    await wait(30);
    expect(other.kernel.asked("charts")).toHaveLength(1);
  });

  it("says what is wrong and what is missing", async () => {
    const lost = await show(history({ problem: "runs/a is gone. What was read before stays." }, { lost: true }));
    expect(lost.root.querySelector(".nnw-notice")?.textContent).toContain("runs/a is gone.");
    const empty = await show({ ...history({ step: 0 }, { empty: true }), curve: null, layers: null });
    expect(empty.root.textContent).toContain("No step is recorded yet. The first appears here by itself.");
    const other = await show({ ...history(), curve: null });
    expect(other.root.textContent).toContain("No loss is recorded. The list above has what is.");
  });

  it("spans what is there, wherever it begins", () => {
    const late = curve([1, 2], { steps: i32([1001, 1002]) });
    expect(spanOf({ ...history({ step: 1040 }), curve: late, layers: null })).toEqual([1001, 1040]);
    expect(spanOf({ ...history({ step: 0 }, { empty: true }), curve: null, layers: null })).toEqual([0, 1]);
  });
});
