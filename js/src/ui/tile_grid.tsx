/** A grid of tiles: one canvas for those in sight, a cell with its caption over each. */

import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Place, pixelAt } from "../draw/axes";
import { type Box, type Look, paintTiles, prepare } from "../draw/canvas";
import type { TileSource } from "../draw/codes";
import { CAPTION, gridLayout, gridMove, tileEdge, tileRatio, visibleLines } from "../draw/layout";
import { FONT, useSize } from "./pieces";

export interface TileGridProps {
  /** What the grid is, for screen readers. */
  name: string;
  source: TileSource;
  /** Channel numbers of the tiles of `source`. */
  index: ArrayLike<number>;
  /** The tiles to show, in their order. */
  places: readonly number[];
  look: Look;
  selected: number;
  /** Words on edited channels. */
  marks: ReadonlyMap<number, string>;
  /** Where the cross-hair is, in pixels of a tile. */
  cross: Place | null;
  /** The least width of a tile in a place that is wide enough. */
  least?: number;
  /** A second picture in each cell, right of the first: tiles of the same shape and number. */
  beside?: { source: TileSource; look: Look } | null;
  /** What a tile is called, and what else is said of it; "channel" without. */
  noun?: string;
  extra?: ((channel: number) => string) | null;
  onSelect(channel: number): void;
  /** `second`: the pointer is over the picture on the right. */
  onHover?(channel: number, place: Place | null, second?: boolean): void;
}

/** Room around the tiles for the marks of selected and edited ones, as in the style sheet. */
const MARGIN = 3;
/** Between the two pictures of one cell. */
const BETWEEN = 3;

export function TileGrid(props: TileGridProps) {
  const { source, index, places, look, selected, marks, cross, beside = null, noun = "channel", extra = null } = props;
  const across = beside ? 2 : 1;
  const [scroller, size] = useSize<HTMLDivElement>({ width: 560, height: 400 });
  const canvas = useRef<HTMLCanvasElement>(null);
  const [top, setTop] = useState(0);
  const [active, setActive] = useState(0);
  const focusNext = useRef(false);

  const width = Math.max(1, size.width - 2 * MARGIN);
  const layout = useMemo(() => {
    const zoom = size.font / FONT;
    const caption = CAPTION * zoom;
    const ratio = tileRatio(source.rows, source.columns * across);
    const room = { width, height: size.height - 2 * MARGIN };
    const edge = tileEdge(places.length, room, ratio, (props.least ?? 80) * zoom * across, caption);
    return gridLayout(places.length, width, source.rows, source.columns * across, edge, caption);
  }, [places.length, width, size.height, size.font, source.rows, source.columns, across, props.least]);
  const half = across === 1 ? layout.width : Math.floor((layout.width - BETWEEN) / 2);
  const lines = visibleLines(layout, top, size.height);
  const chosen = places.findIndex((place) => index[place] === selected);
  const current = Math.min(active, Math.max(0, places.length - 1));

  // A selection made elsewhere moves the entry point of the keyboard with it.
  useLayoutEffect(() => {
    if (chosen >= 0) setActive(chosen);
  }, [chosen]);

  useLayoutEffect(() => {
    const height = (lines.to - lines.from) * layout.pitch;
    const context = canvas.current && prepare(canvas.current, width, height);
    if (!context) return;
    const ratio = context.canvas.width / width;
    const first = lines.from * layout.across;
    const which = places.slice(first, lines.to * layout.across);
    const boxes = (shift: number) =>
      which.map((_, at): Box => {
        const x = Math.round(((at % layout.across) * (layout.width + layout.gap) + shift) * ratio);
        const y = Math.round(Math.floor(at / layout.across) * layout.pitch * ratio);
        return { x, y, width: Math.round(half * ratio), height: Math.round(layout.height * ratio) };
      });
    paintTiles(context, source, which, boxes(0), look);
    if (beside) paintTiles(context, beside.source, which, boxes(half + BETWEEN), beside.look);
  }, [source, beside, places, look, layout, half, lines.from, lines.to, width]);

  useLayoutEffect(() => {
    if (!focusNext.current) return;
    focusNext.current = false;
    const node = scroller.current;
    const line = Math.floor(current / layout.across) * layout.pitch;
    if (node && line < node.scrollTop) node.scrollTop = line;
    if (node && line + layout.pitch > node.scrollTop + size.height) node.scrollTop = line + layout.pitch - size.height;
    node?.querySelector<HTMLElement>(`[data-place="${current}"]`)?.focus({ preventScroll: true });
  });

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      const place = places[current];
      if (place === undefined) return;
      event.preventDefault();
      props.onSelect(index[place] as number);
      return;
    }
    const to = gridMove(event.key, current, places.length, layout.across, Math.floor(size.height / layout.pitch));
    if (to === null) return;
    event.preventDefault();
    event.stopPropagation();
    focusNext.current = true;
    setActive(to);
  };

  const hovered = (event: PointerEvent) => {
    const cell = (event.target as Element).closest<HTMLElement>("[data-place]");
    const place = cell ? places[Number(cell.dataset.place)] : undefined;
    if (!cell || place === undefined) return;
    const box = cell.getBoundingClientRect();
    const zoom = layout.width > 0 ? box.width / layout.width : 1;
    const x = event.clientX - box.left;
    const second = beside !== null && x >= (half + BETWEEN) * zoom;
    const at = pixelAt(
      second ? x - (half + BETWEEN) * zoom : x,
      event.clientY - box.top,
      half * zoom,
      layout.height * zoom,
      source.rows,
      source.columns,
    );
    props.onHover?.(index[place] as number, at, second);
  };

  const latest = useRef(props);
  latest.current = props;
  // The cells stay as they are while only the cross-hair moves: it is placed by two custom properties of their parent.
  const cells = useMemo(() => {
    const drawn = new Set<number>();
    for (let line = lines.from; line < lines.to; line++) drawn.add(line);
    // The cell that holds the focus stays in the document when it scrolls out of sight.
    if (places.length > 0) drawn.add(Math.floor(current / layout.across));
    const cell = (place: number, at: number) => {
      const channel = index[place] as number;
      const word = marks.get(channel);
      return (
        <div
          key={channel}
          role="gridcell"
          class={`nnw-tile${word ? " nnw-edited" : ""}`}
          data-place={at}
          data-channel={channel}
          tabIndex={at === current ? 0 : -1}
          aria-colindex={(at % layout.across) + 1}
          aria-selected={channel === selected}
          aria-label={`${noun} ${channel}${word ? `, edited: ${word}` : ""}${extra ? `, ${extra(channel)}` : ""}`}
          style={{ width: `${layout.width}px`, height: `${layout.pitch - 2}px` }}
          onClick={() => {
            setActive(at);
            latest.current.onSelect(channel);
          }}
        >
          <div class="nnw-tile-picture" style={{ height: `${layout.height}px` }}>
            <span class="nnw-tile-half" style={{ width: `${half}px` }}>
              <i class="nnw-cross" />
            </span>
            {across === 2 && (
              <span class="nnw-tile-half" style={{ left: `${half + BETWEEN}px`, width: `${half}px` }}>
                <i class="nnw-cross" />
              </span>
            )}
          </div>
          <span class="nnw-tile-caption" title={extra ? extra(channel) : undefined}>
            {word ? `${channel} · ${word}` : channel}
          </span>
        </div>
      );
    };
    return [...drawn].map((line) => (
      <div
        key={line}
        class="nnw-tile-line"
        role="row"
        aria-rowindex={line + 1}
        style={{ top: `${line * layout.pitch}px`, gap: `${layout.gap}px` }}
      >
        {places
          .slice(line * layout.across, (line + 1) * layout.across)
          .map((place, column) => cell(place, line * layout.across + column))}
      </div>
    ));
  }, [lines.from, lines.to, layout, half, across, noun, extra, places, index, marks, selected, current]);
  const crossed = cross && {
    "--row": cross.row,
    "--column": cross.column,
  };

  return (
    <div
      class="nnw-scroll"
      ref={scroller}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      role="grid"
      aria-label={props.name}
      aria-rowcount={layout.lines}
      aria-colcount={layout.across}
      onKeyDown={onKeyDown}
      onPointerMove={hovered}
      onPointerLeave={() => props.onHover?.(-1, null)}
    >
      <div
        class={`nnw-tiles${cross ? " nnw-crossed" : ""}`}
        role="presentation"
        style={{ height: `${layout.total}px`, "--rows": source.rows, "--columns": source.columns, ...crossed }}
      >
        <canvas
          ref={canvas}
          aria-hidden="true"
          style={{
            top: `${lines.from * layout.pitch}px`,
            width: `${width}px`,
            height: `${(lines.to - lines.from) * layout.pitch}px`,
          }}
        />
        {cells}
      </div>
    </div>
  );
}
