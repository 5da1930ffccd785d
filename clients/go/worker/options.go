package worker

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/grpc/credentials"
)

const (
	queuesMax          = 32
	concurrencyMax     = 100_000
	defaultConcurrency = 10
	defaultPrefetchMax = 1_000
	defaultGrace       = 30 * time.Second
)

// Option is a setting of a worker.
type Option func(*settings) error

type settings struct {
	queues      []string
	concurrency int
	prefetch    int // -1: follows concurrency
	namespace   string
	buildID     string
	transport   credentials.TransportCredentials
	grace       time.Duration
	logger      *slog.Logger
}

// WithConcurrency sets how many handlers run at once, 1 to 100,000. By default 10.
func WithConcurrency(handlers int) Option {
	return func(s *settings) error {
		if handlers < 1 || handlers > concurrencyMax {
			return fmt.Errorf("concurrency must be 1 to %d, not %d", concurrencyMax, handlers)
		}
		s.concurrency = handlers
		return nil
	}
}

// WithPrefetch sets how many grants may wait for a free slot. By default as many as handlers run at once, at most 1,000.
func WithPrefetch(grants int) Option {
	return func(s *settings) error {
		if grants < 0 {
			return fmt.Errorf("prefetch must be at least 0, not %d", grants)
		}
		s.prefetch = grants
		return nil
	}
}

// WithQueues sets the queues to take from, 1 to 32. By default those of the tasks.
func WithQueues(names ...string) Option {
	return func(s *settings) error {
		if len(names) < 1 || len(names) > queuesMax {
			return fmt.Errorf("queues must be 1 to %d names, not %d", queuesMax, len(names))
		}
		for _, name := range names {
			if !lowerName.MatchString(name) {
				return fmt.Errorf("queue must match %v, not %q", lowerName, name)
			}
			if !slices.Contains(s.queues, name) {
				s.queues = append(s.queues, name)
			}
		}
		return nil
	}
}

// WithNamespace sets the namespace of tasks and runs. By default it is "default".
func WithNamespace(name string) Option {
	return func(s *settings) error {
		if !lowerName.MatchString(name) {
			return fmt.Errorf("namespace must match %v, not %q", lowerName, name)
		}
		s.namespace = name
		return nil
	}
}

// WithBuildID names the build of your application, which is shown with every attempt; at most 255 characters.
func WithBuildID(id string) Option {
	return func(s *settings) error {
		if id = clean(id); id != firstCharacters(id, errorTypeCharactersMax) {
			return fmt.Errorf("build id must have at most %d characters", errorTypeCharactersMax)
		}
		s.buildID = id
		return nil
	}
}

// WithTransportCredentials sets how connections to servers are secured, such as credentials.NewTLS(…). By default they
// are not encrypted.
func WithTransportCredentials(transport credentials.TransportCredentials) Option {
	return func(s *settings) error {
		s.transport = transport
		return nil
	}
}

// WithGrace sets how long running handlers may go on after the worker was told to stop. By default 30 s.
func WithGrace(grace time.Duration) Option {
	return func(s *settings) error {
		if grace < 0 {
			return fmt.Errorf("grace must be at least 0 s, not %v", grace)
		}
		s.grace = grace
		return nil
	}
}

// WithLogger sets where the worker and its handlers log. By default slog.Default().
func WithLogger(logger *slog.Logger) Option {
	return func(s *settings) error {
		s.logger = logger
		return nil
	}
}
