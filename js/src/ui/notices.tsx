/** What went wrong last, above the pictures, which stay as they were. */
import { useSignal } from "@preact/signals";
import type { WireError } from "../wire/types";
import type { ShellProps } from "./mount";

/** The newest of: a request that failed, a tap that was taken off, a model that failed part-way. */
export function Notices({ store }: Pick<ShellProps, "store">) {
  const failed = store.status.value.error;
  const status = failed === "" ? null : { type: "Status", message: failed, layer: null, argument: null, remedy: null };
  const partial = store.layers.value.value?.error ?? null;
  const dismissed = useSignal<ReadonlySet<string>>(new Set());
  const lasting = [status, partial].find((error) => error !== null && !dismissed.value.has(error.message)) ?? null;
  const notice = store.notice.value ?? lasting;
  return (
    <NoticeStrip
      notice={notice}
      onRetry={store.notice.value !== null ? () => store.retry() : undefined}
      onDismiss={() => {
        if (store.notice.value !== null) store.notice.value = null;
        else if (lasting !== null) dismissed.value = new Set([...dismissed.value, lasting.message]);
      }}
    />
  );
}

/** Stays until it is dismissed, or for good where there is no way to. */
export function NoticeStrip(props: {
  notice: WireError | null;
  onDismiss?: (() => void) | undefined;
  onRetry?: (() => void) | undefined;
}) {
  const { notice } = props;
  return (
    <div class="nnw-notice-place" role="status" aria-live="polite">
      {notice !== null && (
        <div class="nnw-notice">
          <span class="nnw-notice-text">
            <strong>{notice.layer ? `${notice.layer}: ` : "Error: "}</strong>
            {notice.message}
            {notice.remedy !== null && ` ${notice.remedy}`}
          </span>
          {props.onRetry && (
            <button type="button" class="nnw-button" onClick={props.onRetry}>
              Try again
            </button>
          )}
          {props.onDismiss && (
            <button type="button" class="nnw-button" onClick={props.onDismiss}>
              Dismiss
            </button>
          )}
        </div>
      )}
    </div>
  );
}
