package job

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

const (
	firstWait   = 50 * time.Millisecond
	longestWait = time.Second
)

// server is a connection to one address.
type server struct {
	address string
	conn    *grpc.ClientConn
	jobs    jobv1.JobServiceClient
	tasks   jobv1.TaskServiceClient
}

// calls reaches the servers at some addresses, of which one is in use until it is unavailable. Everything that this
// client asks for may be asked again: new runs have ids that were chosen before the first try.
type calls struct {
	namespace string
	timeout   time.Duration
	servers   []*server
	token     string

	mu     sync.Mutex
	at     int
	closed bool
}

// rpc is a method of a stub.
type rpc[Stub, Request, Response any] func(Stub, context.Context, *Request, ...grpc.CallOption) (*Response, error)

func connect(addresses []string, options []grpc.DialOption) ([]*server, error) {
	made := make([]*server, 0, len(addresses))
	for _, address := range addresses {
		conn, err := grpc.NewClient(address, options...)
		if err != nil {
			for _, server := range made {
				err = errors.Join(err, server.conn.Close())
			}
			return nil, fmt.Errorf("address %q: %w", address, err)
		}
		made = append(made, &server{address, conn, jobv1.NewJobServiceClient(conn), jobv1.NewTaskServiceClient(conn)})
	}
	return made, nil
}

func callJobs[Request, Response any](
	ctx context.Context, c *calls, method rpc[jobv1.JobServiceClient, Request, Response], request *Request,
) (*Response, error) {
	return unary(ctx, c, onJobs(method), request, false)
}

func callTasks[Request, Response any](
	ctx context.Context, c *calls, method rpc[jobv1.TaskServiceClient, Request, Response], request *Request,
) (*Response, error) {
	onTasks := func(s *server, ctx context.Context, request *Request, options ...grpc.CallOption) (*Response, error) {
		return method(s.tasks, ctx, request, options...)
	}
	return unary(ctx, c, onTasks, request, false)
}

func onJobs[Request, Response any](method rpc[jobv1.JobServiceClient, Request, Response]) rpc[*server, Request, Response] {
	return func(s *server, ctx context.Context, request *Request, options ...grpc.CallOption) (*Response, error) {
		return method(s.jobs, ctx, request, options...)
	}
}

// unary returns the answer to a request, within the context's deadline or the client's timeout. waitForRoom: also try
// again when the server is overloaded.
func unary[Request, Response any](
	ctx context.Context, c *calls, method rpc[*server, Request, Response], request *Request, waitForRoom bool,
) (*Response, error) {
	if _, set := ctx.Deadline(); !set {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	patience := newPatience(ctx, c.timeout)
	for {
		response, err := once(ctx, c, method, request)
		if err == nil {
			return response, nil
		}
		if !errors.Is(err, ErrUnavailable) && !(waitForRoom && errors.Is(err, ErrOverloaded)) {
			return nil, err
		}
		if err := patience.bear(ctx, err); err != nil {
			return nil, err
		}
	}
}

// once returns the answer to a single try.
func once[Request, Response any](
	ctx context.Context, c *calls, method rpc[*server, Request, Response], request *Request,
) (*Response, error) {
	server, err := c.server()
	if err != nil {
		return nil, err
	}
	response, err := method(server, c.authorized(ctx), request)
	if err != nil {
		return nil, c.told(ctx, err, server, any(request).(proto.Message))
	}
	return response, nil
}

// server returns the one in use.
func (c *calls) server() (*server, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, &Error{Code: codes.Canceled, Message: "the client is closed", kind: ErrClosed}
	}
	return c.servers[c.at], nil
}

func (c *calls) authorized(ctx context.Context) context.Context {
	if c.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.token)
}

// told makes an error of ours. After it the next address is used, if the one in use does not answer.
func (c *calls) told(ctx context.Context, err error, from *server, request proto.Message) error {
	told := errorFrom(ctx, err, from.address)
	if told.Code == codes.Internal {
		if err := checkTexts(request); err != nil {
			return err // gRPC does not say which field it could not write
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed && told.Code == codes.Canceled {
		told.kind, told.Message = ErrClosed, "the client was closed during the call"
	}
	// Of many calls that fail together only the first one turns to the next address.
	away := errors.Is(told, ErrUnavailable) || errors.Is(told, ErrDeadlineExceeded)
	if away && c.servers[c.at] == from {
		c.at = (c.at + 1) % len(c.servers)
	}
	return told
}

func (c *calls) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var err error
	for _, server := range c.servers {
		err = errors.Join(err, server.conn.Close())
	}
	return err
}

// patience is the time that one thing may take, all its tries together.
type patience struct {
	until   time.Time
	ceiling time.Duration
}

// newPatience lasts until the context's deadline, or for the given time if it has none.
func newPatience(ctx context.Context, limit time.Duration) *patience {
	until, set := ctx.Deadline()
	if !set {
		until = time.Now().Add(limit)
	}
	return &patience{until, firstWait}
}

// bear waits before the next try, at least as long as the error says; it returns the error if there is no time for one.
func (p *patience) bear(ctx context.Context, err error) error {
	wait := rand.N(p.ceiling)
	if told, ours := errors.AsType[*Error](err); ours {
		wait += told.RetryAfter
	}
	p.ceiling = min(2*p.ceiling, longestWait)
	if wait >= time.Until(p.until) {
		return err
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &Error{Code: codes.Canceled, Message: ctx.Err().Error(), cause: ctx.Err()}
	}
}
