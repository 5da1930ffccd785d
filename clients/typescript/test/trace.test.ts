import assert from "node:assert/strict";
import { test } from "node:test";

import { trace } from "@opentelemetry/api";
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-node";

import { testJob } from "./support/jobs.js";

const exporter = new InMemorySpanExporter();
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }).register();
const tracer = trace.getTracer("test");

test("one trace goes from the enqueue through every attempt to what the handler enqueues", async (t) => {
  const jobs = testJob(t);
  const seen: (string | undefined)[] = [];
  let nested = "";
  jobs.task("outer", { retry: { backoff: "fixed", initialDelaySeconds: 0 } }, async (_payload, ctx) => {
    seen.push(trace.getActiveSpan()?.spanContext().traceId);
    if (ctx.attempt === 1) throw new Error("again");
    nested = (await jobs.enqueue("inner")).runId;
  });
  jobs.task("inner", {}, () => {
    seen.push(trace.getActiveSpan()?.spanContext().traceId);
  });
  await jobs.start();

  const caller = tracer.startSpan("sign-up");
  const { traceId, spanId } = caller.spanContext();
  const { runId } = await tracer.startActiveSpan(
    "request",
    {},
    trace.setSpan((await import("@opentelemetry/api")).context.active(), caller),
    (span) =>
      jobs.enqueue("outer").finally(() => {
        span.end();
      }),
  );
  caller.end();
  await jobs.runs.wait(runId, { timeoutSeconds: 30 });
  await jobs.runs.wait(nested, { timeoutSeconds: 30 });

  assert.deepEqual(seen, [traceId, traceId, traceId]);
  assert.match((await jobs.runs.get(nested)).traceContext["traceparent"] ?? "", new RegExp(`^00-${traceId}-`));
  assert.notEqual(spanId, "");
  await jobs.stop();
  const spans = exporter.getFinishedSpans().filter(({ name }) => name.startsWith("run "));
  assert.deepEqual(
    spans.map(({ name, status, attributes }) => [
      name,
      status.code,
      attributes["job.run_id"],
      attributes["job.attempt"],
    ]),
    [
      ["run outer", 2, runId, 1],
      ["run outer", 0, runId, 2],
      ["run inner", 0, nested, 1],
    ],
  );
});

test("a trace context that the caller gives is sent instead", async (t) => {
  const jobs = testJob(t);
  await jobs.tasks.register([{ name: "work" }]);
  const traceContext = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
  const { runId } = await tracer.startActiveSpan("other", (span) =>
    jobs.enqueue("work", 1, { traceContext }).finally(() => {
      span.end();
    }),
  );
  assert.deepEqual((await jobs.runs.get(runId)).traceContext, traceContext);
});

test("each item of a batch carries the trace", async (t) => {
  const jobs = testJob(t);
  await jobs.tasks.register([{ name: "work" }]);
  await tracer.startActiveSpan("import", async (span) => {
    const [first] = await jobs.enqueueBatch([{ task: "work" }, { task: "work" }]);
    const { traceContext } = await jobs.runs.get(first?.runId ?? "");
    assert.match(traceContext["traceparent"] ?? "", new RegExp(`^00-${span.spanContext().traceId}-`));
    span.end();
  });
});
