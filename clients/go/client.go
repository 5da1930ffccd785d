package job

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
	"layeron.dev/job/internal/servers"
)

const (
	defaultNamespace = "default"
	defaultTimeout   = 10 * time.Second
)

// Client is a client of Layeron Job, for one namespace. It may be used by many goroutines at once.
type Client struct {
	// Runs are the runs of the namespace.
	Runs *Runs
	// Tasks are the tasks of the namespace.
	Tasks *Tasks

	calls *calls
}

// Option is a setting of a client.
type Option func(*settings) error

type settings struct {
	namespace string
	timeout   time.Duration
	token     string
	transport credentials.TransportCredentials
	dial      []grpc.DialOption
}

// WithNamespace sets the namespace. By default it is "default".
func WithNamespace(name string) Option {
	return func(s *settings) error {
		if name == "" {
			return &FieldError{"namespace", "must not be empty"}
		}
		s.namespace = name
		return nil
	}
}

// WithTimeout sets how long a call may take, repeats included, if its context has no deadline. By default 10 s.
func WithTimeout(timeout time.Duration) Option {
	return func(s *settings) error {
		if timeout <= 0 {
			return &FieldError{"timeout", fmt.Sprintf("must be more than 0 s, not %v", timeout)}
		}
		s.timeout = timeout
		return nil
	}
}

// WithToken sends the token with every call, as "authorization: Bearer …".
func WithToken(token string) Option {
	return func(s *settings) error {
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return &FieldError{"token", "must be printable ASCII without spaces, and not empty"}
		}
		s.token = token
		return nil
	}
}

// WithTransportCredentials sets how connections are secured, such as credentials.NewTLS(…). By default they are not
// encrypted.
func WithTransportCredentials(transport credentials.TransportCredentials) Option {
	return func(s *settings) error {
		s.transport = transport
		return nil
	}
}

// WithDialOptions adds options of gRPC's own, such as interceptors and stats handlers.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) error {
		s.dial = append(s.dial, options...)
		return nil
	}
}

// NewClient returns a client of the servers at an address: "host:port", or several joined with commas, of which the
// first that answers is used. Empty means $LAYERON_JOB_ADDRESS, or localhost:7233. Connections are made when they are
// needed.
func NewClient(address string, options ...Option) (*Client, error) {
	set := settings{namespace: defaultNamespace, timeout: defaultTimeout}
	for _, option := range options {
		if err := option(&set); err != nil {
			return nil, err
		}
	}
	addresses, err := servers.Addresses(address)
	if err != nil {
		return nil, &FieldError{"address", err.Error()}
	}
	connections, err := connect(addresses, append(servers.DialOptions(set.transport), set.dial...))
	if err != nil {
		return nil, err
	}
	calls := &calls{namespace: set.namespace, timeout: set.timeout, servers: connections, token: set.token}
	return &Client{Runs: &Runs{calls}, Tasks: &Tasks{calls}, calls: calls}, nil
}

// Close ends the connections, and with them every call under way. Closing again does nothing.
func (c *Client) Close() error { return c.calls.close() }

// Enqueue asks for one run. Once it returns without an error, the run is durable.
//
// The payload is anything that [encoding/json] takes: at most 256 KiB, integers within ±(2^53−1), depth at most 20. Nil
// is null; text that is already JSON is given as a [json.RawMessage] or [JSON].
//
// The errors are ErrTaskNotRegistered, ErrInvalidRequest, ErrIdempotencyKeyReused, ErrRunIDReused, ErrOverloaded,
// ErrUnavailable, ErrDeadlineExceeded, and a *FieldError for what cannot be sent at all.
func (c *Client) Enqueue(ctx context.Context, task string, payload any, options ...EnqueueOption) (Enqueued, error) {
	request, chosen, err := enqueueRequest(ctx, Item{task, payload, options})
	if err != nil {
		return Enqueued{}, err
	}
	request.Namespace = c.calls.namespace
	request.JsonForm = jobv1.JsonForm_JSON_FORM_BYTES
	answer, err := callJobs(ctx, c.calls, jobv1.JobServiceClient.Enqueue, request)
	if err != nil {
		return Enqueued{}, err
	}
	run := runFrom(answer.GetRun())
	// Of an id that was chosen here only this call can have made a run, if in a try whose answer was lost.
	return Enqueued{run, answer.GetCreated() || run.ID == chosen, answer.GetPruned()}, nil
}

// enqueueRequest returns the request of an item, and its run id if it was chosen here.
func enqueueRequest(ctx context.Context, item Item) (request *jobv1.EnqueueRequest, chosen string, err error) {
	request = &jobv1.EnqueueRequest{Task: item.Task}
	if item.Payload != nil {
		if request.PayloadJson, err = jsonText(item.Payload); err != nil {
			return nil, "", err
		}
	}
	for _, option := range item.Options {
		if err := option.enqueue(request); err != nil {
			return nil, "", err
		}
	}
	if request.RunId == "" {
		chosen = NewRunID()
		request.RunId = chosen
	}
	if request.TraceContext == nil {
		request.TraceContext = traceContextOf(ctx)
	}
	return request, chosen, nil
}
