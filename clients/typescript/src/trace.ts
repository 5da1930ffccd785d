/** W3C trace context, between OpenTelemetry and runs. Without an OpenTelemetry SDK in the process all of it is empty. */

import { context, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";

const tracer = trace.getTracer("@layeron/job");

/** The trace context of what runs now. */
export function activeTraceContext(): Record<string, string> {
  const carrier: Record<string, string> = {};
  propagation.inject(context.active(), carrier);
  return carrier;
}

/** One attempt as a span of its caller's trace. */
export interface AttemptSpan {
  /** Call a function in it: what that enqueues and calls belongs to the same trace. */
  within<Value>(body: () => Value): Value;
  /** The attempt has ended, with an error or without. */
  end(error?: Error): void;
}

/** Begin the span of an attempt. */
export function attemptSpan(
  task: string,
  traceContext: Readonly<Record<string, string>>,
  attributes: Record<string, string | number>,
): AttemptSpan {
  const caller = propagation.extract(ROOT_CONTEXT, traceContext);
  const span = tracer.startSpan(`run ${task}`, { kind: SpanKind.CONSUMER, attributes }, caller);
  const inside = trace.setSpan(caller, span);
  return {
    within: (body) => context.with(inside, body),
    end: (error) => {
      if (error !== undefined) {
        span.recordException(error);
        span.setStatus({ code: SpanStatusCode.ERROR });
      }
      span.end();
    },
  };
}
