package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

// run is connected to where the newest welcome says, for good. Called without the lock.
func (d *deliveries) run(ctx context.Context) {
	for {
		select {
		case <-d.changed:
		case <-ctx.Done():
			return
		}
		d.close()
		d.worker.mu.Lock()
		welcome := d.welcome
		if d.stopped {
			welcome = nil
		}
		d.worker.mu.Unlock()
		if welcome == nil {
			continue
		}
		if err := d.connect(welcome); err != nil {
			d.complain(err)
			if sleep(ctx, retryPull) {
				d.moved()
			}
		}
	}
}

// connect makes a connection and a subscription for each consumer. Called without the lock.
func (d *deliveries) connect(welcome *jobv1.Welcome) error {
	conn, err := nats.Connect(strings.Join(welcome.GetNatsUrls(), ","), d.options(welcome)...)
	if err != nil {
		return err
	}
	inbox := conn.NewInbox()
	var consumers []*consumer
	for number, named := range welcome.GetConsumers() {
		c := &consumer{
			share:   newShare(named.GetPriority()),
			name:    named.GetName(),
			subject: fmt.Sprintf("$JS.API.CONSUMER.MSG.NEXT.%s.%s", welcome.GetStream(), named.GetName()),
			inbox:   fmt.Sprintf("%s.%d", inbox, number),
		}
		c.sub, err = conn.Subscribe(c.inbox, func(message *nats.Msg) { d.arrived(c, message) })
		if err == nil {
			err = c.sub.SetPendingLimits(-1, -1) // the credits are the limit
		}
		if err != nil {
			conn.Close()
			return err
		}
		consumers = append(consumers, c)
	}
	d.worker.mu.Lock()
	defer d.worker.mu.Unlock()
	d.nats, d.consumers = conn, consumers
	d.moreCredits()
	return nil
}

func (d *deliveries) options(welcome *jobv1.Welcome) []nats.Option {
	options := []nats.Option{
		nats.Name(connectionName()),
		nats.CustomInboxPrefix(welcome.GetInboxPrefix()),
		nats.Timeout(2 * time.Second),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Second),
		nats.ReconnectBufSize(-1), // nothing that waits is of use to the next connection
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { d.complain(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				d.complain(err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { d.reconnected() }),
	}
	switch credentials := welcome.GetNatsCredentials(); {
	case credentials.GetToken() != "":
		options = append(options, nats.Token(credentials.GetToken()))
	case credentials.GetUser() != "":
		options = append(options, nats.UserInfo(credentials.GetUser(), credentials.GetPassword()))
	}
	return options
}

// reconnected: the pulls of before are gone. Called without the lock.
func (d *deliveries) reconnected() {
	d.worker.logger.Info("connected to NATS again")
	d.worker.mu.Lock()
	defer d.worker.mu.Unlock()
	for _, consumer := range d.consumers {
		consumer.close()
	}
	d.moreCredits()
}

// stop takes nothing more. What JetStream has sent meanwhile is still handed back; acks still leave. Called without the
// lock.
func (d *deliveries) stop() {
	d.worker.mu.Lock()
	d.stopped, d.wanted = true, false
	conn, consumers := d.nats, d.consumers
	d.worker.mu.Unlock()
	if conn == nil || !conn.IsConnected() {
		return
	}
	var err error
	for _, consumer := range consumers {
		err = errors.Join(err, consumer.sub.Drain())
	}
	if err = errors.Join(err, conn.FlushTimeout(drainLimit)); err != nil {
		d.worker.logger.Debug("cannot unsubscribe", slog.Any("error", err))
	}
}

// close sends what waits and closes the connection. Called without the lock.
func (d *deliveries) close() {
	d.worker.mu.Lock()
	conn, answers := d.nats, d.answers
	d.nats, d.consumers, d.answers = nil, nil, nil
	d.worker.mu.Unlock()
	if conn == nil {
		return
	}
	if conn.IsConnected() {
		d.publish(conn, answers)
		if err := conn.FlushTimeout(time.Second); err != nil {
			d.worker.logger.Debug("NATS was not left in order", slog.Any("error", err))
		}
	}
	conn.Close()
}

// complain says an error, but not the same one again and again. Called without the lock.
func (d *deliveries) complain(err error) {
	d.worker.mu.Lock()
	defer d.worker.mu.Unlock()
	if now := time.Now(); err.Error() != d.lastError || now.Sub(d.saidAt) > sameErrorFor {
		d.worker.logger.Warn("NATS", slog.Any("error", err))
		d.lastError, d.saidAt = err.Error(), now
	}
}
