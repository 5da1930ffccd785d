// Package worker runs the handlers of Layeron Job.
//
//	w := worker.New("localhost:7233", worker.WithConcurrency(20))
//
//	worker.Handle(w, "send-mail", func(ctx context.Context, mail Mail) (Receipt, error) {
//		…
//	}, worker.Retry(job.RetryPolicy{Attempts: 5}), worker.Timeout(30*time.Second))
//
//	if err := w.Main(); err != nil {
//		log.Fatal(err)
//	}
//
// A handler returns its result, or an error: then the run is tried again as its policy says, or as [RetryAfter] or
// [DoNotRetry] say. It should end soon once its context is done; [context.Cause] says why. It may run more than once for
// one run (a worker may die after the effect and before the report), so key outside effects by the run's id, which
// [FromContext] tells.
package worker
