// Package job is the client of Layeron Job, a durable background-job service.
//
//	jobs, err := job.NewClient("localhost:7233")
//	…
//	run, err := jobs.Enqueue(ctx, "send-mail", Mail{To: "ada@example.com"}, job.WithIdempotencyKey("welcome-7"))
//	…
//	ended, err := jobs.Runs.Wait(ctx, run.ID)
//
// A call has the deadline of its context, or the client's timeout if that has none. What is UNAVAILABLE is tried again
// until then, at the next address if there are several; this is safe, because every new run has an id that was chosen
// before the first try.
//
// An answer other than success is an [*Error]; its kind is found with [errors.Is] and one of the Err… variables. What
// cannot be sent at all is a [*FieldError].
//
// Handlers are run by layeron.dev/job/worker.
package job
