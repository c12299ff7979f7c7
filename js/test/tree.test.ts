import { describe, expect, it } from "vitest";
import { buildTree, outputShape, runLabel, search, type TreeLine, unfoldTo, visibleLines } from "../src/state/tree";
import type { LayerRow } from "../src/wire/types";
import { hugeNet, mobileNet } from "../test-page/mock_data";

function row(name: string, type = "Block", signature = "", shape: number[] = [1, 2]): LayerRow {
  const outputs = shape.length > 0 ? [{ path: "", shape, dtype: "float32" }] : [];
  const counts = { depth: 0, parameters: 0, own_parameters: 0, buffers: 0, trainable: null, calls: 1, seconds: null };
  return { name, type, ...counts, aliases: [], inputs: [], outputs, reason: "", note: "", signature };
}

/** blocks 0…4, each with one layer inside; 1, 2 and 3 alike. */
const BLOCKS = [
  row(""),
  row("blocks"),
  ...[0, 1, 2, 3, 4].flatMap((at) => [
    row(`blocks.${at}`, "Block", at > 0 && at < 4 ? "same" : `${at}`),
    row(`blocks.${at}.act`, "ReLU", "relu"),
  ]),
];
const NONE: ReadonlyMap<string, boolean> = new Map();
const words = (lines: readonly TreeLine[]) =>
  lines.map((line) =>
    line.repeats.length > 0 ? `${runLabel(line.repeats)} ×${line.repeats.length}` : line.node.row.name,
  );
const show = (rows: LayerRow[], folds = NONE, selected: string | null = null) =>
  visibleLines(buildTree(rows), folds, selected, null);

describe("buildTree", () => {
  it("follows dotted names and leaves the model itself out", () => {
    const [blocks] = buildTree(BLOCKS);
    expect(blocks?.label).toBe("blocks");
    expect(blocks?.children.map((node) => node.label)).toEqual(["0", "1", "2", "3", "4"]);
    expect(blocks?.children[0]?.children[0]?.depth).toBe(2);
  });

  it("hangs a layer under its nearest listed parent", () => {
    const [a] = buildTree([row(""), row("a"), row("a.b.c")]);
    expect(a?.children[0]?.label).toBe("b.c");
  });

  it("lists a model that is one layer under its type", () => {
    expect(buildTree([row("", "Linear")]).map((node) => node.label)).toEqual(["Linear"]);
  });

  it("does not mistake a name that begins alike for a parent", () => {
    expect(buildTree([row("conv"), row("conv2"), row("conv2.x")]).map((node) => node.label)).toEqual(["conv", "conv2"]);
  });
});

describe("visibleLines", () => {
  it("folds neighbours of one structure", () => {
    const lines = words(show(BLOCKS));
    expect(lines).toContain("1–3 ×3");
    expect(lines).not.toContain("blocks.2");
  });

  it("never folds the selected layer away", () => {
    for (const selected of ["blocks.2", "blocks.3.act"]) {
      expect(words(show(BLOCKS, new Map([["blocks.1…blocks.3", false]]), selected))).toContain(selected);
    }
  });

  it("opens and closes as the person says, and marks what holds the selected layer", () => {
    const lines = show(BLOCKS, new Map([["blocks", false]]), "blocks.2");
    expect(words(lines)).toEqual(["blocks"]);
    expect(lines[0]?.holds).toBe(true);
    expect(words(show(BLOCKS, new Map([["blocks.1…blocks.3", true]])))).toContain("blocks.2");
  });

  it("opens again what would hide a newly selected layer", () => {
    const folds = new Map([
      ["blocks", false],
      ["other", false],
    ]);
    expect([...unfoldTo(folds, "blocks.2").keys()]).toEqual(["other"]);
    expect(unfoldTo(folds, "elsewhere")).toBe(folds);
  });

  it("numbers the items of a level for screen readers", () => {
    const lines = show(BLOCKS).filter((line) => line.depth === 1);
    expect(lines.map((line) => [line.position, line.siblings])).toEqual([
      [1, 3],
      [2, 3],
      [3, 3],
    ]);
  });

  it("opens a real network so that its blocks show at first sight", () => {
    const lines = words(show(mobileNet(), NONE, "features.3"));
    expect(lines.length).toBeGreaterThan(15);
    expect(lines.length).toBeLessThan(45);
    expect(lines).toContain("5–6 ×2");
    expect(lines).toContain("features.3");
  });

  it("lists a network of fifty thousand layers", () => {
    const roots = buildTree(hugeNet(50_000));
    const lines = visibleLines(roots, new Map([["blocks", true]]), null, null);
    expect(lines.length).toBe(12_501);
    expect(search(roots, "blocks.12000")?.hits).toBe(4);
  });
});

describe("search", () => {
  const roots = buildTree(mobileNet());
  const names = (text: string) => {
    const found = search(roots, text);
    return found === null ? null : words(visibleLines(roots, NONE, null, found.shown));
  };

  it("finds by name, type and shape, all words of the text", () => {
    expect(names("classifier.1")).toEqual(["classifier", "classifier.1"]);
    expect(search(roots, "relu6 1280x7x7")?.hits).toBe(1);
    expect(search(roots, "1280×7×7 batchnorm")?.hits).toBe(1);
    expect(search(roots, "no such layer")?.hits).toBe(0);
  });

  it("is no search when nothing is written", () => {
    expect(names("  ")).toBeNull();
  });
});

describe("outputShape", () => {
  it("leaves the batch out", () => {
    expect(outputShape(row("a", "x", "", [4, 192, 28, 28]))).toBe("192×28×28");
    expect(outputShape(row("a", "x", "", [4]))).toBe("scalar");
    expect(outputShape(row("a", "x", "", []))).toBeNull();
  });
});
