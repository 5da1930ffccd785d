package worker

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	jobv1 "layeron.dev/job/gen/layeron/job/v1"
)

const (
	pullFor   = 2 * time.Second
	listenFor = 5 * time.Second
	pullGrace = time.Second
	retryPull = time.Second
	// Small pulls wait this long for more credits, or for a quarter of all of them.
	gatherCredits = 4 * time.Millisecond
	nakMin        = time.Second
	nakMax        = 5 * time.Second
	watchEvery    = 500 * time.Millisecond
	drainLimit    = 2 * time.Second
	sameErrorFor  = 10 * time.Second
)

// consumer is a durable pull consumer and its pull under way.
type consumer struct {
	share

	name      string
	subject   string
	inbox     string
	sub       *nats.Subscription
	deadline  time.Time // when the pull under way is given up
	notBefore time.Time
	lastReply string
}

// answer is an ack or NAK that waits to be sent.
type answer struct {
	reply string
	body  []byte
}

type pull struct {
	consumer *consumer
	body     []byte
}

var acknowledged = []byte("+ACK")

// deliveries takes deliveries from JetStream: pulls what the credits allow, acks what was answered. Losing an ack or a
// pull is harmless: the delivery comes again and its start is answered again.
//
// All fields are guarded by the worker's lock. run, send and watch are its three goroutines; the other methods are called
// with the lock held, unless they say otherwise.
type deliveries struct {
	worker    *Worker
	enough    int // free credits that are worth a pull at once
	welcome   *jobv1.Welcome
	changed   chan struct{}
	bell      bell
	wanted    bool
	stopped   bool
	nats      *nats.Conn
	consumers []*consumer
	answers   []answer
	pullDue   bool
	pullTimer *time.Timer
	lastError string
	saidAt    time.Time
}

func newDeliveries(w *Worker, capacity int) *deliveries {
	return &deliveries{worker: w, enough: max(1, capacity/4), changed: make(chan struct{}, 1), bell: newBell()}
}

// resume: a server is connected, so pull, from what its welcome names.
func (d *deliveries) resume(welcome *jobv1.Welcome) {
	before := d.welcome
	d.welcome = welcome
	if before == nil || !samePlace(before, welcome) {
		d.moved()
	}
	d.wanted = !d.stopped
	d.moreCredits()
}

func (d *deliveries) moved() {
	select {
	case d.changed <- struct{}{}:
	default: // run has not looked at the move before yet
	}
}

// pause: no server is connected, so pull nothing until resume. What still arrives is handed back.
func (d *deliveries) pause() { d.wanted = false }

// ack: this delivery is dealt with.
func (d *deliveries) ack(reply string) { d.answer(reply, acknowledged) }

// nak: this delivery had no answer. Let it come again, here or elsewhere; at once if we are leaving.
func (d *deliveries) nak(reply string) {
	body := []byte("-NAK")
	if !d.stopped {
		body = fmt.Appendf(body, ` {"delay": %d}`, nakMin+rand.N(nakMax-nakMin))
	}
	d.answer(reply, body)
}

func (d *deliveries) answer(reply string, body []byte) {
	d.answers = append(d.answers, answer{reply, body})
	d.bell.ring()
}

// moreCredits: credits may have become free, so pull when it is worth it.
func (d *deliveries) moreCredits() {
	if !d.wanted || d.pullDue {
		return
	}
	if d.free() >= d.enough {
		d.pullNow()
	} else if d.pullTimer == nil {
		d.pullTimer = time.AfterFunc(gatherCredits, func() {
			d.worker.mu.Lock()
			defer d.worker.mu.Unlock()
			d.pullNow()
		})
	}
}

func (d *deliveries) pullNow() {
	if d.pullTimer != nil {
		d.pullTimer.Stop()
		d.pullTimer = nil
	}
	d.pullDue = true
	d.bell.ring()
}

// free is how many credits no pull holds.
func (d *deliveries) free() int {
	free := d.worker.credits()
	for _, consumer := range d.consumers {
		free -= consumer.reserved()
	}
	return free
}

// send publishes acks and pulls, whenever there are some. Called without the lock.
func (d *deliveries) send(ctx context.Context) {
	for d.bell.wait(ctx) {
		conn, answers, pulls := d.take()
		if conn == nil || !conn.IsConnected() {
			continue // nothing of it is of use to the next connection
		}
		d.publish(conn, answers)
		for _, pull := range pulls {
			if err := conn.PublishRequest(pull.consumer.subject, pull.consumer.inbox, pull.body); err != nil {
				d.worker.logger.Debug("cannot publish to NATS", slog.Any("error", err))
			}
		}
	}
}

// publish sends answers. One that is lost means that the delivery comes again. Called without the lock.
func (d *deliveries) publish(conn *nats.Conn, answers []answer) {
	for _, answer := range answers {
		if err := conn.Publish(answer.reply, answer.body); err != nil {
			d.worker.logger.Debug("cannot publish to NATS", slog.Any("error", err))
			return
		}
	}
}

// take takes what waits to be sent. Called without the lock.
func (d *deliveries) take() (*nats.Conn, []answer, []pull) {
	d.worker.mu.Lock()
	defer d.worker.mu.Unlock()
	d.bell.answered()
	answers := d.answers
	d.answers = nil
	return d.nats, answers, d.takePulls(time.Now())
}

func (d *deliveries) takePulls(now time.Time) []pull {
	due := d.pullDue
	d.pullDue = false
	if !due || !d.wanted {
		return nil
	}
	var able []*share
	for _, consumer := range d.consumers {
		if !consumer.notBefore.After(now) {
			consumer.lookAtBacklog()
			able = append(able, &consumer.share)
		}
	}
	var pulls []pull
	counts := shareOut(d.free(), able)
	for _, consumer := range d.consumers {
		if count := counts[&consumer.share]; count > 0 {
			pulls = append(pulls, pull{consumer, consumer.request(count, now)})
		}
	}
	return pulls
}

// watch renews pulls that were lost. Called without the lock.
func (d *deliveries) watch(ctx context.Context) {
	for sleep(ctx, watchEvery) {
		d.worker.mu.Lock()
		now := time.Now()
		for _, consumer := range d.consumers {
			if consumer.outstanding > 0 && now.After(consumer.deadline) {
				consumer.close()
			}
		}
		d.moreCredits()
		d.worker.mu.Unlock()
	}
}

// arrived is called by NATS with a delivery of the pull under way, or with its end. Called without the lock.
func (d *deliveries) arrived(c *consumer, message *nats.Msg) {
	d.worker.mu.Lock()
	defer d.worker.mu.Unlock()
	if message.Reply == "" {
		d.pullEnded(c, message.Header)
		return
	}
	if c.outstanding > 0 {
		c.outstanding--
		c.listening = false
	}
	c.lastReply = message.Reply
	d.worker.delivered(message.Subject[strings.LastIndexByte(message.Subject, '.')+1:], message.Reply)
	if c.outstanding == 0 {
		d.moreCredits()
	}
}

func (d *deliveries) pullEnded(c *consumer, header nats.Header) {
	switch status := header.Get("Status"); status {
	case "100": // a heartbeat
	case "404", "408":
		c.close()
		d.moreCredits()
	default:
		c.close()
		c.notBefore = time.Now().Add(retryPull)
		d.worker.logger.Debug("a pull ended", slog.String("consumer", c.name), slog.String("status", status),
			slog.String("description", header.Get("Description")))
	}
}

// request is a pull for so many messages, which is then under way.
func (c *consumer) request(count int, now time.Time) []byte {
	expires := pullFor
	if c.listening = c.backlog == 0; c.listening {
		expires = listenFor
	}
	c.outstanding = count
	c.deadline = now.Add(expires + pullGrace)
	return fmt.Appendf(nil, `{"batch":%d,"expires":%d}`, count, expires)
}

// lookAtBacklog reads what the newest delivery says of the backlog behind it.
func (c *consumer) lookAtBacklog() {
	if c.lastReply == "" {
		return
	}
	parts := strings.Split(c.lastReply, ".")
	place := 8
	if len(parts) > 9 {
		place = 10 // the second form of reply subjects is longer
	}
	if place < len(parts) {
		c.backlog, _ = strconv.Atoi(parts[place])
	}
	c.lastReply = ""
}

func samePlace(a, b *jobv1.Welcome) bool {
	names := func(w *jobv1.Welcome) []string {
		var names []string
		for _, consumer := range w.GetConsumers() {
			names = append(names, consumer.GetName())
		}
		return names
	}
	x, y := a.GetNatsCredentials(), b.GetNatsCredentials()
	return slices.Equal(a.GetNatsUrls(), b.GetNatsUrls()) && a.GetStream() == b.GetStream() && slices.Equal(names(a), names(b)) &&
		x.GetUser() == y.GetUser() && x.GetPassword() == y.GetPassword() && x.GetToken() == y.GetToken()
}

func connectionName() string { return fmt.Sprintf("layeron-job-worker %d", os.Getpid()) }
