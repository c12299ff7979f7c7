/** The layer tree as rows: hierarchy from dotted names, repeats folded, searched, and flattened to what is visible. */
import type { LayerRow } from "../wire/types";

export interface TreeNode {
  readonly row: LayerRow;
  /** Last part of the dotted name; the model's own row has none. */
  readonly label: string;
  readonly depth: number;
  readonly parent: TreeNode | null;
  readonly children: TreeNode[];
}

/** One line of the tree: a layer, or several neighbouring layers of equal structure. */
export interface TreeLine {
  readonly key: string;
  readonly node: TreeNode;
  /** Members of a folded run of repeats, two or more; empty for a single layer. */
  readonly repeats: readonly TreeNode[];
  readonly depth: number;
  readonly open: boolean;
  readonly expandable: boolean;
  /** The selected layer is inside and out of sight because the person closed this line. */
  readonly holds: boolean;
  readonly position: number;
  readonly siblings: number;
}

export type Folds = ReadonlyMap<string, boolean>;

/** Lines up to which a tree opens by itself. */
const ROOMY = 40;

export function buildTree(rows: readonly LayerRow[]): TreeNode[] {
  const nodes = new Map<string, TreeNode>();
  const roots: TreeNode[] = [];
  for (const row of rows) {
    if (row.name === "") continue;
    const parent = nearest(nodes, row.name);
    const label = parent === null ? row.name : row.name.slice(parent.row.name.length + 1);
    const node: TreeNode = { row, label, depth: parent === null ? 0 : parent.depth + 1, parent, children: [] };
    nodes.set(row.name, node);
    (parent?.children ?? roots).push(node);
  }
  const root = rows.find((row) => row.name === "");
  // A model that is a single layer has no row but its own.
  if (roots.length === 0 && root !== undefined) {
    roots.push({ row: root, label: root.type, depth: 0, parent: null, children: [] });
  }
  return roots;
}

/** The deepest listed layer whose name is a dotted beginning of `name`: names in between may be missing. */
function nearest(nodes: ReadonlyMap<string, TreeNode>, name: string): TreeNode | null {
  for (let dot = name.lastIndexOf("."); dot > 0; dot = name.lastIndexOf(".", dot - 1)) {
    const found = nodes.get(name.slice(0, dot));
    if (found !== undefined) return found;
  }
  return null;
}

/** Runs of neighbours with one signature, in order. */
export function runs(siblings: readonly TreeNode[]): TreeNode[][] {
  const found: TreeNode[][] = [];
  for (const node of siblings) {
    const last = found.at(-1);
    const signature = node.row.signature;
    // Leaves tell little and are short; only blocks fold, unless there is a long row of them.
    if (last !== undefined && signature !== "" && last[0]?.row.signature === signature) last.push(node);
    else found.push([node]);
  }
  return found.flatMap((run) => (run.length > 1 && (hasInside(run) || run.length > 8) ? [run] : run.map((n) => [n])));
}

function hasInside(run: readonly TreeNode[]): boolean {
  return (run[0]?.children.length ?? 0) > 0;
}

export function runKey(run: readonly TreeNode[]): string {
  return `${run[0]?.row.name}…${run.at(-1)?.row.name}`;
}

function contains(node: TreeNode, name: string | null): boolean {
  const own = node.row.name;
  return name?.startsWith(own) === true && (name.length === own.length || name[own.length] === ".");
}

/** The name range of a run: "5–6" for features.5 and features.6. */
export function runLabel(run: readonly TreeNode[]): string {
  return `${run[0]?.label}–${run.at(-1)?.label}`;
}

/** Folds without those that keep `name` out of sight. */
export function unfoldTo(folds: Folds, name: string): Folds {
  const hiding = [...folds].filter(([key, open]) => !open && name.startsWith(`${key}.`));
  if (hiding.length === 0) return folds;
  const kept = new Map(folds);
  for (const [key] of hiding) kept.delete(key);
  return kept;
}

/**
 * The lines on show. Repeats that hold `selected` are always open, its parents unless the person closed them; a search
 * shows all that match.
 */
export function visibleLines(
  roots: readonly TreeNode[],
  folds: Folds,
  selected: string | null,
  matches: ReadonlySet<TreeNode> | null,
): TreeLine[] {
  const lines: TreeLine[] = [];
  const openDepth = matches === null ? depthOf(roots) : Number.POSITIVE_INFINITY;
  const walk = (siblings: readonly TreeNode[], depth: number) => {
    const shown = matches === null ? siblings : siblings.filter((node) => matches.has(node));
    const groups = matches === null ? runs(shown) : shown.map((node) => [node]);
    groups.forEach((run, index) => {
      const place = { position: index + 1, siblings: groups.length };
      const first = run[0] as TreeNode;
      if (run.length > 1) {
        const key = runKey(run);
        const holds = run.some((node) => contains(node, selected));
        const open = holds || (folds.get(key) ?? false);
        lines.push({ key, node: first, repeats: run, depth, open, expandable: true, holds: false, ...place });
        for (const [at, node] of open ? run.entries() : []) {
          single(node, depth + 1, { position: at + 1, siblings: run.length });
        }
      } else single(first, depth, place);
    });
  };
  const single = (node: TreeNode, depth: number, place: { position: number; siblings: number }) => {
    const key = node.row.name;
    const below = selected !== null && selected !== key && contains(node, selected);
    const expandable = node.children.length > 0;
    const open = expandable && (folds.get(key) ?? (below || depth < openDepth));
    lines.push({ key, node, repeats: [], depth, open, expandable, holds: below && !open, ...place });
    if (open) walk(node.children, depth + 1);
  };
  walk(roots, 0);
  return lines;
}

const depths = new WeakMap<readonly TreeNode[], number>();

/** The answer of {@link defaultDepth}, which walks over the whole tree, kept. */
function depthOf(roots: readonly TreeNode[]): number {
  const depth = depths.get(roots) ?? defaultDepth(roots);
  depths.set(roots, depth);
  return depth;
}

/** How many levels open by themselves so that the first look is neither a single line nor a flood. */
function defaultDepth(roots: readonly TreeNode[]): number {
  let level = roots;
  let total = 0;
  for (let depth = 0; depth < 12; depth++) {
    total += runs(level).length;
    const next = level.flatMap((node) => node.children);
    if (next.length === 0) return depth;
    if (total + runs(next).length > ROOMY && depth > 0) return depth;
    if (runs(next).length > 400) return depth;
    level = next;
  }
  return 12;
}

/** What is searched of a layer, made once: each letter typed searches all layers. */
const haystacks = new WeakMap<TreeNode, string>();

function haystack(node: TreeNode): string {
  let text = haystacks.get(node);
  if (text === undefined) {
    const { name, aliases, type } = node.row;
    text = [name, ...aliases, type, outputShape(node.row) ?? ""].join("\n").toLowerCase().replaceAll("×", "x");
    haystacks.set(node, text);
  }
  return text;
}

/** Layers whose name, type or shape contains every word of `text`, and what leads to them; null for no search. */
export function search(roots: readonly TreeNode[], text: string): { shown: Set<TreeNode>; hits: number } | null {
  const words = text.toLowerCase().replaceAll("×", "x").split(/\s+/).filter(Boolean);
  if (words.length === 0) return null;
  const shown = new Set<TreeNode>();
  let hits = 0;
  const visit = (node: TreeNode): boolean => {
    const hay = haystack(node);
    const hit = words.every((word) => hay.includes(word));
    let inside = false;
    for (const child of node.children) inside = visit(child) || inside;
    if (hit) hits += 1;
    if (hit || inside) shown.add(node);
    return hit || inside;
  };
  for (const root of roots) visit(root);
  return { shown, hits };
}

/** "192×28×28": the first output without its batch axis; null when the layer was not run or returns no tensor. */
export function outputShape(row: LayerRow): string | null {
  const shape = row.outputs[0]?.shape;
  if (shape === undefined) return null;
  return shape.length <= 1 ? "scalar" : shape.slice(1).join("×");
}
