/** Edits in words: the mark on a tile, the sentence, and the list. */

import { factor, number, plural } from "../format";
import type { PageEdit } from "../wire/types";

/** One word for a tile: "mean", "zero", "0.50×". */
export function editWord(edit: PageEdit): string {
  if (edit.op === "scale") return factor(edit.factor ?? 1);
  return edit.op === "clamp" ? "limit" : edit.op;
}

function limits(edit: PageEdit): string {
  const least = edit.min ?? null;
  const most = edit.max ?? null;
  if (least !== null && most !== null) return `limited to ${number(least)} … ${number(most)}`;
  return least !== null ? `kept above ${number(least)}` : `kept below ${number(most)}`;
}

/** "channel 12 of features.3 replaced by its mean". */
export function editPhrase(edit: PageEdit): string {
  const layer = edit.layer || "the model";
  const what = edit.channel === null ? `all of ${layer}` : `channel ${edit.channel} of ${layer}`;
  if (edit.op === "mean") return `${what} replaced by its mean`;
  if (edit.op === "zero") return `${what} set to zero`;
  if (edit.op === "only") return `only ${what} kept`;
  if (edit.op === "clamp") return `${what} ${limits(edit)}`;
  return `${what} times ${number(edit.factor ?? 1)}`;
}

/** "1 edit: channel 12 of features.3 replaced by its mean", or "" without edits. */
export function editsSentence(edits: readonly PageEdit[]): string {
  if (edits.length === 0) return "";
  return `${plural(edits.length, "edit")}: ${edits.map(editPhrase).join("; ")}`;
}

/** The words of the edited channels of one layer. */
export function editMarks(edits: readonly PageEdit[], layer: string): Map<number, string> {
  const marks = new Map<number, string>();
  for (const edit of edits) {
    if (edit.layer !== layer || edit.channel === null) continue;
    const word = editWord(edit);
    const before = marks.get(edit.channel);
    marks.set(edit.channel, before ? `${before}, ${word}` : word);
  }
  return marks;
}

/** The edits in words, each with a button that takes it back where the owner offers that; its place is kept without edits. */
export function EditList(props: { edits: readonly PageEdit[]; onUndo?: ((edit: PageEdit) => void) | undefined }) {
  const { edits, onUndo } = props;
  if (edits.length === 0) return <p class="nnw-edits nnw-dim">No edits: this is the model as it is.</p>;
  if (edits.length === 1 || !onUndo) return <p class="nnw-edits">{editsSentence(edits)}</p>;
  return (
    <div class="nnw-edits">
      {plural(edits.length, "edit")}:
      <ul>
        {edits.map((edit) => (
          <li key={`${edit.layer}/${edit.channel}/${edit.op}`}>
            <span>{editPhrase(edit)}</span>
            <button
              type="button"
              class="nnw-link"
              aria-label={`Undo: ${editPhrase(edit)}`}
              onClick={() => onUndo(edit)}
            >
              undo
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}
