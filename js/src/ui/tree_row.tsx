/** One line of the layer tree. */
import { count, plural } from "../format";
import { outputShape, runLabel, type TreeLine } from "../state/tree";

export interface TreeRowProps {
  line: TreeLine;
  top: number;
  selected: boolean;
  focusable: boolean;
  edited: boolean;
  onFold(): void;
  onChoose(): void;
  onFocus(): void;
}

const CONTAINERS = new Set(["Sequential", "ModuleList", "ModuleDict"]);

function kind(line: TreeLine): string {
  const { row, children } = line.node;
  return CONTAINERS.has(row.type) ? plural(children.length, "block") : row.type;
}

/** Why a layer is grey, or what else there is to say of it. */
function remark(line: TreeLine): string {
  const { row } = line.node;
  if (row.reason !== "") return row.reason;
  return row.calls === 0 ? "not called" : "";
}

export function TreeRow(props: TreeRowProps) {
  const { line, selected, edited } = props;
  const { row, label } = line.node;
  const times = line.repeats.length;
  const name = times > 0 ? runLabel(line.repeats) : label;
  const shape = outputShape(row);
  const why = remark(line);
  const parameters = row.parameters * Math.max(1, times);
  const frozen = row.parameters > 0 && row.trainable === false ? "frozen" : "";
  const calls = row.calls !== null && row.calls > 1 ? `called ${row.calls} times` : "";
  const also = row.aliases.length > 0 ? `also named ${row.aliases.join(", ")}` : "";
  const facts = [
    row.type,
    times > 0 ? `${times} alike` : "",
    shape && `output ${shape}`,
    plural(parameters, "parameter"),
  ];
  const more = [frozen, calls, also, edited ? "edited" : "", why, row.note];
  const words = [...facts, ...more].filter(Boolean);
  const grey = row.reason !== "" || row.calls === 0;
  return (
    <div
      role="treeitem"
      class={`nnw-row${selected ? " nnw-selected" : ""}${line.holds ? " nnw-holds" : ""}${grey ? " nnw-grey" : ""}`}
      data-layer={times > 0 ? undefined : row.name}
      aria-level={line.depth + 1}
      aria-setsize={line.siblings}
      aria-posinset={line.position}
      aria-expanded={line.expandable ? line.open : undefined}
      aria-selected={selected}
      aria-disabled={row.reason !== "" ? true : undefined}
      aria-label={`${name}, ${words.join(", ")}`}
      title={[times > 0 ? `${line.repeats[0]?.row.name} – ${line.repeats.at(-1)?.row.name}` : row.name, ...words].join(
        "\n",
      )}
      tabIndex={props.focusable ? 0 : -1}
      style={{ top: `${props.top}px`, "--depth": line.depth }}
      onClick={props.onChoose}
      onDblClick={() => line.expandable && times === 0 && props.onFold()}
      onFocus={props.onFocus}
    >
      {/* The keyboard opens and closes with the arrows of the tree. */}
      <span
        class="nnw-twist"
        aria-hidden="true"
        onClick={(event) => {
          if (!line.expandable) return;
          event.stopPropagation();
          props.onFold();
        }}
      >
        {line.expandable ? (line.open ? "▾" : "▸") : ""}
      </span>
      <span class="nnw-name">{name}</span>
      <span class="nnw-type">{kind(line)}</span>
      {why !== "" && <span class="nnw-why">{why}</span>}
      {edited && <span class="nnw-edited">✎</span>}
      {times > 0 && <span class="nnw-times">×{times}</span>}
      <span class="nnw-shape">{shape ?? ""}</span>
      <span class="nnw-parameters">{parameters > 0 ? count(parameters) : ""}</span>
    </div>
  );
}
