/** The layer tree: the one place where layers are chosen. Only the lines in sight are in the document. */
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { plural } from "../format";
import { buildTree, type Folds, search, type TreeLine, unfoldTo, visibleLines } from "../state/tree";
import type { LayersResult, PageEdit, WireError } from "../wire/types";
import { ErrorStrip, useSize } from "./pieces";
import { TreeRow } from "./tree_row";

export interface TreeProps {
  layers: LayersResult | null;
  error: WireError | null;
  /** What to say while there is nothing to list. */
  waiting: string;
  selected: string | null;
  edits: readonly PageEdit[];
  find: string;
  folds: Folds;
  onFind(text: string): void;
  onFolds(folds: Folds): void;
  onSelect(name: string): void;
  onRetry(): void;
}

/** Lines beyond the edge that are drawn as well, so that scrolling shows no gap. */
const MARGIN = 8;
const TYPEAHEAD_MS = 700;

export function Tree(props: TreeProps) {
  const { layers, find, folds } = props;
  const selected = useMemo(() => listedName(layers, props.selected), [layers, props.selected]);
  const roots = useMemo(() => buildTree(layers?.rows ?? []), [layers]);
  const found = useMemo(() => search(roots, find), [roots, find]);
  const lines = useMemo(
    () => visibleLines(roots, folds, selected, found?.shown ?? null),
    [roots, folds, selected, found],
  );
  const edited = useMemo(() => new Set(props.edits.map((edit) => edit.layer)), [props.edits]);
  const [scroller, size] = useSize<HTMLDivElement>({ width: 280, height: 440, font: 13 });
  const [top, setTop] = useState(0);
  const [active, setActive] = useState<string | null>(null);
  const focusNext = useRef(false);
  const typed = useRef({ text: "", at: 0 });
  const row = rowHeight(scroller.current);

  const chosen = lines.findIndex((line) => line.repeats.length === 0 && line.node.row.name === selected);
  const named = active === null ? -1 : lines.findIndex((line) => line.key === active);
  const current = Math.max(0, named >= 0 ? named : chosen);

  useLayoutEffect(() => {
    setActive(null);
    const open = selected === null ? folds : unfoldTo(folds, selected);
    if (open !== folds) props.onFolds(open);
  }, [selected]);
  // The selected layer is brought into sight when it changes or when the tree arrives, not at every redraw.
  useLayoutEffect(() => reveal(chosen), [selected, layers]);
  useLayoutEffect(() => {
    if (!focusNext.current) return;
    focusNext.current = false;
    scroller.current?.querySelector<HTMLElement>('[role="treeitem"][tabindex="0"]')?.focus({ preventScroll: true });
  });

  function reveal(at: number): void {
    const node = scroller.current;
    if (node === null || at < 0) return;
    const height = rowHeight(node);
    if (at * height < node.scrollTop) node.scrollTop = at * height;
    else if ((at + 1) * height > node.scrollTop + node.clientHeight) {
      node.scrollTop = (at + 1) * height - node.clientHeight;
    }
    setTop(node.scrollTop);
  }

  function goTo(at: number): void {
    const line = lines[Math.min(lines.length - 1, Math.max(0, at))];
    if (line === undefined) return;
    setActive(line.key);
    reveal(lines.indexOf(line));
    focusNext.current = true;
  }

  function fold(line: TreeLine, open: boolean): void {
    props.onFolds(new Map(folds).set(line.key, open));
  }

  function choose(line: TreeLine): void {
    if (line.repeats.length > 0) fold(line, !line.open);
    else if (line.node.row.reason === "") props.onSelect(line.node.row.name);
  }

  function typeahead(key: string): void {
    const now = performance.now();
    typed.current = { text: now - typed.current.at < TYPEAHEAD_MS ? typed.current.text + key : key, at: now };
    const text = typed.current.text.toLowerCase();
    const from = text.length > 1 ? current : current + 1;
    for (let step = 0; step < lines.length; step++) {
      const at = (from + step) % lines.length;
      const { node } = lines[at] as TreeLine;
      if (node.label.toLowerCase().startsWith(text) || node.row.type.toLowerCase().startsWith(text)) {
        goTo(at);
        return;
      }
    }
  }

  function onKeyDown(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const line = lines[current];
    if (line === undefined) return;
    const page = Math.max(1, Math.floor(size.height / row) - 1);
    const moves: Record<string, () => void> = {
      ArrowDown: () => goTo(current + 1),
      ArrowUp: () => goTo(current - 1),
      PageDown: () => goTo(current + page),
      PageUp: () => goTo(current - page),
      Home: () => goTo(0),
      End: () => goTo(lines.length - 1),
      Enter: () => choose(line),
      " ": () => choose(line),
      ArrowRight: () => (line.expandable && !line.open ? fold(line, true) : line.open && goTo(current + 1)),
      ArrowLeft: () => {
        if (line.expandable && line.open) return fold(line, false);
        for (let at = current - 1; at >= 0; at--) if ((lines[at] as TreeLine).depth < line.depth) return goTo(at);
      },
    };
    const move = moves[event.key];
    // The letters of the frame's own commands stay commands; digits and the other letters jump by name.
    const letter = event.key.length === 1 && /[\p{L}\d_]/u.test(event.key) && !/^[ar]$/.test(event.key);
    if (move !== undefined) move();
    else if (letter) typeahead(event.key);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  const first = Math.max(0, Math.floor(top / row) - MARGIN);
  const last = Math.min(lines.length, Math.ceil((top + size.height) / row) + MARGIN);
  return (
    <section class="nnw-tree" aria-label="Layers">
      <FindBox text={find} hits={found?.hits ?? null} onFind={props.onFind} onLeave={() => goTo(Math.max(0, chosen))} />
      <div class="nnw-tree-head nnw-dim" aria-hidden="true">
        <span>layer</span>
        <span class="nnw-shape">output</span>
        <span class="nnw-parameters">parameters</span>
      </div>
      {props.error !== null && (
        <div class="nnw-inset">
          <ErrorStrip error={props.error} />
          <button type="button" class="nnw-button" onClick={props.onRetry}>
            Try again
          </button>
        </div>
      )}
      {layers === null && props.error === null && <p class="nnw-inset nnw-dim">{props.waiting}</p>}
      {layers !== null && lines.length === 0 && (
        <p class="nnw-inset nnw-dim">
          {find === "" ? "This model has no layers inside." : "No layer matches. Esc clears the search."}
        </p>
      )}
      <div class="nnw-tree-scroll" ref={scroller} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
        <div
          class="nnw-tree-lines"
          role="tree"
          aria-label={
            layers === null ? "Layers" : `Layers of ${layers.model.name}, ${plural(layers.rows.length, "layer")}`
          }
          style={{ height: `${lines.length * row}px` }}
          onKeyDown={onKeyDown}
        >
          {lines.slice(first, last).map((line, place) => (
            <TreeRow
              key={line.key}
              line={line}
              top={(first + place) * row}
              selected={first + place === chosen}
              focusable={first + place === current}
              edited={
                line.repeats.length > 0
                  ? line.repeats.some((n) => edited.has(n.row.name))
                  : edited.has(line.node.row.name)
              }
              onFold={() => fold(line, !line.open)}
              onChoose={() => choose(line)}
              onFocus={() => setActive(line.key)}
            />
          ))}
        </div>
      </div>
    </section>
  );
}

/** A shared module is listed under the first of its names. */
function listedName(layers: LayersResult | null, name: string | null): string | null {
  if (layers === null || name === null || layers.rows.some((row) => row.name === name)) return name;
  return layers.rows.find((row) => row.aliases.includes(name))?.name ?? name;
}

/** The height of a row as the style sheet has it: larger text makes it grow. */
function rowHeight(node: HTMLElement | null): number {
  return (node && Number.parseFloat(getComputedStyle(node).getPropertyValue("--nnw-row"))) || 22;
}

function FindBox(props: { text: string; hits: number | null; onFind(text: string): void; onLeave(): void }) {
  return (
    <div class="nnw-find">
      <input
        type="search"
        aria-label="Find a layer by name, type or shape"
        placeholder="Find a layer: name, type or shape"
        value={props.text}
        onInput={(event) => props.onFind(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape" && props.text !== "") props.onFind("");
          else if (event.key === "ArrowDown" || event.key === "Enter" || event.key === "Escape") props.onLeave();
          else return;
          event.preventDefault();
          event.stopPropagation();
        }}
      />
      <span class="nnw-hidden" role="status">
        {props.hits === null ? "" : plural(props.hits, "layer matches", "layers match")}
      </span>
      {props.hits !== null && (
        <span class="nnw-hits nnw-dim" aria-hidden="true">
          {props.hits}
        </span>
      )}
    </div>
  );
}
