/** The pinned inputs: what the model looks at, whether it is right, and which one the page shows. */
import { useEffect, useRef } from "preact/hooks";
import type { InputItem, InputsResult, WireError } from "../wire/types";
import { Empty, ErrorStrip } from "./pieces";

export interface InputsProps {
  inputs: InputsResult | null;
  error: WireError | null;
  /** What to say while there is nothing to list. */
  waiting: string;
  selected: number;
  /** How many are listed before "show more". */
  shown: number;
  onSelect(index: number): void;
  onMore(): void;
  onRetry(): void;
}

/** The words under a thumbnail, most telling first. */
function label(item: InputItem): string {
  return item.caption || item.target || item.predicted || `input ${item.index}`;
}

function verdict(item: InputItem): string {
  if (item.correct === null) return item.predicted === null ? "" : `predicted ${item.predicted}`;
  if (item.correct) return `predicted ${item.predicted ?? item.target}: right`;
  return `predicted ${item.predicted}: wrong, it is ${item.target}`;
}

function Thumbnail({ picture }: { picture: NonNullable<InputItem["picture"]> }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const [rows = 0, columns = 0] = picture.shape;
    const node = canvas.current;
    if (node === null || rows * columns === 0) return;
    node.width = columns;
    node.height = rows;
    const context = node.getContext("2d");
    if (context === null) return;
    const image = context.createImageData(columns, rows);
    const { data } = picture;
    for (let pixel = 0; pixel < rows * columns; pixel++) {
      image.data[4 * pixel] = data[3 * pixel] ?? 0;
      image.data[4 * pixel + 1] = data[3 * pixel + 1] ?? 0;
      image.data[4 * pixel + 2] = data[3 * pixel + 2] ?? 0;
      image.data[4 * pixel + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }, [picture]);
  return <canvas ref={canvas} class="nnw-thumbnail" aria-hidden="true" />;
}

export function Inputs(props: InputsProps) {
  const { inputs, error, selected } = props;
  const list = useRef<HTMLDivElement>(null);
  const items = inputs?.items.slice(0, Math.max(props.shown, selected + 1)) ?? [];
  // By hand: scrollIntoView would move the notebook as well.
  useEffect(() => {
    const box = list.current;
    const item = box?.querySelector<HTMLElement>(`[data-input="${selected}"]`);
    if (!box || !item) return;
    const [left, top] = [item.offsetLeft - box.offsetLeft, item.offsetTop - box.offsetTop];
    if (left < box.scrollLeft) box.scrollLeft = left;
    else if (left + item.offsetWidth > box.scrollLeft + box.clientWidth) {
      box.scrollLeft = left + item.offsetWidth - box.clientWidth;
    }
    if (top < box.scrollTop) box.scrollTop = top;
    else if (top + item.offsetHeight > box.scrollTop + box.clientHeight) {
      box.scrollTop = top + item.offsetHeight - box.clientHeight;
    }
  }, [selected, inputs]);
  const move = (event: KeyboardEvent) => {
    const at = items.findIndex((item) => item.index === selected);
    const across = columnsOf(list.current);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across }[event.key];
    const to = step === undefined ? { Home: 0, End: items.length - 1 }[event.key] : at + step;
    const next = to === undefined ? undefined : items[to];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    props.onSelect(next.index);
    list.current?.querySelector<HTMLElement>(`[data-input="${next.index}"]`)?.focus();
  };
  return (
    <section class="nnw-region nnw-inputs" aria-label="Inputs">
      <header>
        <h3>Inputs {inputs !== null && inputs.total > 1 && <span class="nnw-dim nnw-light">{inputs.total}</span>}</h3>
        {inputs !== null && <Verdict item={inputs.items.find((item) => item.index === selected)} />}
      </header>
      {error !== null && (
        <>
          <ErrorStrip error={error} />
          <button type="button" class="nnw-button" onClick={props.onRetry}>
            Try again
          </button>
        </>
      )}
      {inputs === null && error === null && <p class="nnw-dim">{props.waiting}</p>}
      {inputs?.items.length === 0 && (
        <Empty>No inputs. Pass some: explore(model, inputs) shows what the layers make of them.</Empty>
      )}
      <div class="nnw-thumbnails" role="listbox" aria-label="Inputs" ref={list} onKeyDown={move}>
        {items.map((item) => (
          <button
            key={item.index}
            type="button"
            role="option"
            class="nnw-input"
            data-input={item.index}
            aria-selected={item.index === selected}
            aria-label={[`input ${item.index}`, item.caption, verdict(item)].filter(Boolean).join(", ")}
            title={[label(item), verdict(item)].filter(Boolean).join("\n")}
            tabIndex={item.index === selected ? 0 : -1}
            onClick={() => props.onSelect(item.index)}
          >
            {item.picture !== null ? (
              <Thumbnail picture={item.picture} />
            ) : (
              <span class="nnw-thumbnail nnw-no-picture">{item.index}</span>
            )}
            {item.correct !== null && (
              <span class={`nnw-badge${item.correct ? "" : " nnw-wrong"}`} aria-hidden="true">
                {item.correct ? "✓" : "✗"}
              </span>
            )}
            <span class="nnw-input-label">{label(item)}</span>
          </button>
        ))}
      </div>
      {inputs !== null && items.length < inputs.items.length && (
        <button type="button" class="nnw-button" onClick={props.onMore}>
          Show more ({inputs.items.length - items.length} left)
        </button>
      )}
      {inputs !== null && inputs.note !== "" && <p class="nnw-dim">{inputs.note}</p>}
    </section>
  );
}

function Verdict({ item }: { item: InputItem | undefined }) {
  const words = item === undefined ? "" : verdict(item);
  return (
    <span class={`nnw-verdict${item?.correct === false ? " nnw-wrong" : ""}`} title={words}>
      {words}
    </span>
  );
}

/** How many thumbnails stand side by side. */
function columnsOf(list: HTMLElement | null): number {
  const children = [...(list?.children ?? [])] as HTMLElement[];
  const top = children[0]?.offsetTop;
  const across = children.findIndex((child) => child.offsetTop !== top);
  return across > 0 ? across : Math.max(1, children.length);
}
