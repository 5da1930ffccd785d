package job

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// W3C trace context is what the contract carries, whatever propagator the program uses elsewhere.
var propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})

// traceContextOf returns the trace context of a call; nil if it has none.
func traceContextOf(ctx context.Context) map[string]string {
	carrier := propagation.MapCarrier{}
	propagator.Inject(ctx, carrier)
	if len(carrier) == 0 {
		return nil
	}
	return carrier
}
