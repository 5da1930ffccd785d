/** How an attempt ended: what a handler returned or threw, in the terms and within the limits of the contract. */

import { RefusedError } from "../errors.js";
import { DoNotRetry, RetryAfter } from "../handler.js";
import { jsonBytes } from "../json.js";
import { ERROR_DETAIL_BYTES_MAX, ERROR_MESSAGE_BYTES_MAX, ERROR_TYPE_CHARACTERS_MAX, head } from "./limits.js";

/** What went wrong. */
export interface Failure {
  readonly errorType: string;
  readonly errorMessage: string;
  readonly errorDetail: string;
  readonly doNotRetry: boolean;
  readonly retryAfterMs: number | undefined;
}

/** How an attempt ended. An empty result means null. */
export type Outcome =
  | { readonly kind: "succeeded"; readonly resultJson: Uint8Array }
  | { readonly kind: "failed" | "timedOut" | "canceled" | "interrupted"; readonly failure: Failure };

const NOTHING = new Uint8Array();

/** About how many bytes it takes on the wire. */
export function sizeOf(outcome: Outcome): number {
  if (outcome.kind === "succeeded") {
    return outcome.resultJson.length + 100;
  }
  const { errorType, errorMessage, errorDetail } = outcome.failure;
  return 3 * (errorType.length + errorMessage.length + errorDetail.length) + 200;
}

/** The outcome of a handler that returned: a result that breaks the rules fails the attempt for good. */
export function returned(value: unknown, bytesMax: number): Outcome {
  if (value === undefined || value === null) {
    return { kind: "succeeded", resultJson: NOTHING };
  }
  let problem: string;
  try {
    const resultJson = jsonBytes(value, "result", "result");
    if (resultJson.length <= bytesMax) {
      return { kind: "succeeded", resultJson };
    }
    problem = `has ${resultJson.length} bytes; the limit is ${bytesMax}`;
  } catch (error) {
    // Also what a value's own toJSON may throw.
    problem = error instanceof RefusedError ? error.message.slice("result ".length) : `is no JSON: ${String(error)}`;
  }
  return failed("failed", "ResultInvalid", `the handler's result ${problem}`, { doNotRetry: true });
}

/** The outcome of a handler that threw. */
export function thrown(error: unknown): Outcome {
  return failed("failed", errorType(error), messageOf(error), {
    errorDetail: detailOf(error),
    doNotRetry: error instanceof DoNotRetry,
    retryAfterMs: error instanceof RetryAfter ? Math.round(error.delaySeconds * 1000) : undefined,
  });
}

/** Any outcome but success. */
export function failed(
  kind: "failed" | "timedOut" | "canceled" | "interrupted",
  type: string,
  message: string,
  { errorDetail = "", doNotRetry = false, retryAfterMs }: Partial<Omit<Failure, "errorType" | "errorMessage">> = {},
): Outcome {
  const errorMessage = head(message, ERROR_MESSAGE_BYTES_MAX);
  return { kind, failure: { errorType: type, errorMessage, errorDetail, doNotRetry, retryAfterMs } };
}

/** The stack of an error and of its causes; when it is too long, its start, where the throw is. */
export function detailOf(error: unknown): string {
  const stacks: string[] = [];
  let cause = error;
  while (cause instanceof Error && stacks.length < 8) {
    stacks.push(String(cause.stack));
    cause = cause.cause;
  }
  return head(stacks.join("\ncaused by: "), ERROR_DETAIL_BYTES_MAX);
}

/**
 * The name under which a retry policy knows an error: the `name` that it or its class was given, else that of the class.
 * What is no error has the name of its type, such as "string".
 */
function errorType(error: unknown): string {
  if (!(error instanceof Error)) {
    return error === null ? "null" : typeof error;
  }
  const { constructor } = error;
  const isNamed = Object.hasOwn(error, "name") || Object.hasOwn(constructor.prototype as object, "name");
  const name = isNamed && error.name !== "" ? error.name : constructor.name;
  return head(name.slice(0, ERROR_TYPE_CHARACTERS_MAX), 4 * ERROR_TYPE_CHARACTERS_MAX);
}

function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? error.message : String(error);
  } catch {
    return "(its message cannot be shown)";
  }
}
