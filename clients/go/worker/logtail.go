package worker

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// logTail has the last lines of a log, bounded in bytes.
type logTail struct {
	mu    sync.Mutex
	lines []string
	bytes int
}

func (t *logTail) add(line string) {
	line = head(line, logTailBytesMax)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	t.bytes += len(line) + 1
	for t.bytes > 2*logTailBytesMax {
		t.bytes -= len(t.lines[0]) + 1
		t.lines = t.lines[1:]
	}
}

func (t *logTail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return tail(strings.Join(t.lines, "\n"), logTailBytesMax)
}

// tee is a handler of package slog: what it is given goes on to another one, and lines from INFO on also to the tail.
type tee struct {
	next    slog.Handler
	attrs   slog.Handler // writes the attributes into buffer
	buffer  *lineBuffer
	tail    *logTail
	changed func()
}

type lineBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func newTee(next slog.Handler, tail *logTail, changed func()) *tee {
	buffer := &lineBuffer{}
	options := &slog.HandlerOptions{ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
		if len(groups) == 0 && (attr.Key == slog.TimeKey || attr.Key == slog.LevelKey || attr.Key == slog.MessageKey) {
			return slog.Attr{} // they are written in front, and without quotes
		}
		return attr
	}}
	return &tee{next, slog.NewTextHandler(buffer, options), buffer, tail, changed}
}

// Enabled says yes from INFO on, whatever is logged elsewhere.
func (t *tee) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || t.next.Enabled(ctx, level)
}

// Handle keeps the line and hands it on.
func (t *tee) Handle(ctx context.Context, record slog.Record) error {
	if record.Level >= slog.LevelInfo {
		if err := t.keep(ctx, record); err != nil {
			return err
		}
		t.changed()
	}
	if !t.next.Enabled(ctx, record.Level) {
		return nil
	}
	return t.next.Handle(ctx, record)
}

func (t *tee) keep(ctx context.Context, record slog.Record) error {
	t.buffer.mu.Lock()
	defer t.buffer.mu.Unlock()
	t.buffer.Reset()
	if err := t.attrs.Handle(ctx, record); err != nil {
		return err
	}
	line := record.Time.UTC().Format(time.RFC3339Nano) + " " + record.Level.String() + " " + record.Message
	if attrs := strings.TrimSpace(t.buffer.String()); attrs != "" {
		line += " " + attrs
	}
	t.tail.add(line)
	return nil
}

// WithAttrs returns a handler that adds attributes.
func (t *tee) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &tee{t.next.WithAttrs(attrs), t.attrs.WithAttrs(attrs), t.buffer, t.tail, t.changed}
}

// WithGroup returns a handler that puts attributes into a group.
func (t *tee) WithGroup(name string) slog.Handler {
	return &tee{t.next.WithGroup(name), t.attrs.WithGroup(name), t.buffer, t.tail, t.changed}
}
