package dev.layeron.job;

import io.opentelemetry.api.GlobalOpenTelemetry;
import io.opentelemetry.api.OpenTelemetry;
import io.opentelemetry.context.Context;
import java.util.LinkedHashMap;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** The trace context that a run is given: W3C traceparent, tracestate and baggage. */
final class Tracing {
    private static final int CHARACTERS_MAX = 4096;

    private final @Nullable OpenTelemetry given;

    /** Null means the global one, as it is at each call. */
    Tracing(@Nullable OpenTelemetry given) {
        this.given = given;
    }

    /** What OpenTelemetry's propagators say of a context. */
    Map<String, String> of(Context context) {
        OpenTelemetry telemetry = given == null ? GlobalOpenTelemetry.getOrNoop() : given;
        Map<String, String> all = new LinkedHashMap<>();
        telemetry.getPropagators().getTextMapPropagator().inject(context, all, (carrier, key, value) -> {
            if (carrier != null) {
                carrier.put(key, value);
            }
        });
        return fitting(all);
    }

    /** The keys that the contract has, the first ones first, as far as they fit: no baggage may stop a run. */
    private static Map<String, String> fitting(Map<String, String> all) {
        Map<String, String> trace = new LinkedHashMap<>();
        int characters = 0;
        for (String key : new String[] {"traceparent", "tracestate", "baggage"}) {
            String value = all.get(key);
            if (value != null && (characters += key.length() + value.length()) <= CHARACTERS_MAX) {
                trace.put(key, value);
            }
        }
        return trace;
    }
}
