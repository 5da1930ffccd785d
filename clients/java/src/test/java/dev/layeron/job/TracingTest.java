package dev.layeron.job;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.opentelemetry.api.GlobalOpenTelemetry;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.api.baggage.Baggage;
import io.opentelemetry.api.baggage.propagation.W3CBaggagePropagator;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.ContextPropagators;
import io.opentelemetry.context.propagation.TextMapPropagator;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** The caller's trace goes on in the run. */
class TracingTest {
    private static final String TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
    private static final String SPAN_ID = "b7ad6b7169203331";
    private static final String TRACEPARENT = "00-" + TRACE_ID + "-" + SPAN_ID + "-01";
    private static final OpenTelemetry W3C = OpenTelemetry.propagating(ContextPropagators.create(
            TextMapPropagator.composite(W3CTraceContextPropagator.getInstance(), W3CBaggagePropagator.getInstance())));

    @AfterEach
    void forgetTheGlobalOne() {
        GlobalOpenTelemetry.resetForTest();
    }

    private static Context traced() {
        TraceState state = TraceState.builder().put("vendor", "x").build();
        return Context.root().with(Span.wrap(SpanContext.create(TRACE_ID, SPAN_ID, TraceFlags.getSampled(), state)));
    }

    private static Context carrying(int characters) {
        return traced().with(Baggage.builder().put("k", "v".repeat(characters)).build());
    }

    @Test
    void theCurrentContextIsWrittenByTheGivenPropagators() {
        assertEquals(
                Map.of("traceparent", TRACEPARENT, "tracestate", "vendor=x", "baggage", "k=v"),
                new Tracing(W3C).of(carrying(1)));
    }

    @Test
    void theGlobalOneIsUsedOnceItIsThere() {
        Tracing tracing = new Tracing(null);
        assertEquals(Map.of(), tracing.of(traced()));
        GlobalOpenTelemetry.set(W3C);
        assertEquals(TRACEPARENT, tracing.of(traced()).get("traceparent"));
    }

    @Test
    void baggageThatIsTooLargeForTheContractStaysBehind() {
        assertEquals(Map.of("traceparent", TRACEPARENT, "tracestate", "vendor=x"), new Tracing(W3C).of(carrying(4096)));
    }

    @Test
    void theTraceOfAnEnqueueAndOfABatchIsKeptWithTheirRuns() {
        try (JobClient client = LiveServer.client(
                JobClient.builder().address(LiveServer.address()).openTelemetry(W3C))) {
            String one = traced().wrapSupplier(
                            () -> client.enqueue("work", null).join().runId())
                    .get();
            String other = traced().wrapSupplier(() -> client.enqueueBatch(List.of(new Item("work", null)))
                            .join()
                            .get(0)
                            .runId())
                    .get();
            for (String runId : List.of(one, other)) {
                assertEquals(
                        TRACEPARENT,
                        client.runs().get(runId).join().run().traceContext().get("traceparent"));
            }
        }
    }
}
