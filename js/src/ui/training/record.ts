/** A recorded training in words: what is followed, how far it is, when it last grew. */
import { count, duration } from "../../format";
import type { Play, RecordFacts } from "../../wire/types";
import type { StateWords } from "../state_words";

export interface Following {
  /** Seconds since Python last said how it stands. */
  silence: number;
  /** The kernel is at work: it reads only when it is asked, if at all. */
  busy: boolean;
}

/** Growth so recent that more is to be expected. */
const FRESH = 10;
/** A silence longer than this leaves open what happened meanwhile. */
const DEAF = { busy: 5, idle: 15 };
const LONGEST = 32;

/** The end of a path tells one run from another. */
export function shortPath(path: string): string {
  if (path.length <= LONGEST) return path;
  const parts = path.split(/(?<=[\\/])/);
  let end = parts.pop() ?? "";
  while (parts.length > 0 && (parts.at(-1) as string).length + end.length < LONGEST) end = parts.pop() + end;
  return parts.length > 0 && end.length < LONGEST ? `…/${end}` : `…${end.slice(-LONGEST)}`;
}

function since(seconds: number): string {
  return duration(Math.max(1, Math.round(seconds)));
}

export function recordWords(play: Play, record: RecordFacts, { silence, busy }: Following): StateWords {
  const at = record.empty ? "no step yet" : `step ${play.step.toLocaleString("en-US")}`;
  const path = shortPath(record.path);
  if (record.kind === "file") return { mark: "idle", text: `saved in ${path} · ${at}`, warning: "" };
  // What matters most comes first: a narrow header cuts the path.
  const words = (...parts: string[]) => [...parts, path].filter(Boolean).join(" · ");
  if (record.lost) return { mark: "gone", text: words("no longer followed", at), warning: "" };
  const doing = record.kind === "folder" ? "following" : "kept in memory";
  if (silence > (busy ? DEAF.busy : DEAF.idle)) {
    const read = `last read ${since(silence)} ago`;
    const warning = busy ? `a cell keeps the kernel busy: ${read}` : read;
    return { mark: "waiting", text: `${doing} · ${at}`, warning, said: "not read at present" };
  }
  const age = play.ago === null ? null : play.ago + silence;
  if (record.ended) {
    const when = age === null ? "ended" : `ended ${since(age)} ago`;
    return { mark: "idle", text: words(when, at), warning: "", said: "ended" };
  }
  if (age !== null && age < FRESH) {
    const grew = `${record.kind === "folder" ? "last written" : "grew"} ${since(age)} ago`;
    return { mark: "live", text: words(doing, at, grew), warning: "", said: "following" };
  }
  const still = age === null || record.kind === "memory" ? doing : `not written to for ${since(age)}`;
  return { mark: "idle", text: words(still, at), warning: "", said: "not written to any more" };
}

/** What the training was: its size, and which of several processes. */
export function recordSize(record: RecordFacts, exact = false): string {
  const { parameters, rank, ranks } = record;
  return [
    parameters === null ? "" : `${exact ? parameters.toLocaleString("en-US") : count(parameters)} parameters`,
    rank === null || ranks === null ? "" : `rank ${rank} of ${ranks}`,
  ]
    .filter(Boolean)
    .join(" · ");
}
