// Package testserver gives tests a real server: the one at $LAYERON_JOB_ADDRESS, or one that it starts from the .venv of
// this repository, on a PostgreSQL and a nats-server of its own.
package testserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const (
	addressVariable = "LAYERON_JOB_ADDRESS"
	readyLimit      = 90 * time.Second
	stopLimit       = 30 * time.Second
)

var (
	dev   *system
	names atomic.Int64

	readyLine    = regexp.MustCompile(`is ready at (\S+)`)
	postgresLine = regexp.MustCompile(`PostgreSQL\s+127\.0\.0\.1:(\d+)\s+NATS (\S+)`)
)

// system is what `layeron-job dev` runs.
type system struct {
	process     *exec.Cmd
	folder      string
	address     string
	databaseURL string
	natsURL     string
}

// Main runs the tests of a package with a server; call it from TestMain.
func Main(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testserver:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if os.Getenv(addressVariable) != "" {
		return m.Run(), nil
	}
	var err error
	if dev, err = start(); err != nil {
		return 0, err
	}
	if err := os.Setenv(addressVariable, dev.address); err != nil {
		return 0, errors.Join(err, dev.stop())
	}
	code := m.Run()
	return code, dev.stop()
}

// Address is where the server is.
func Address() string { return os.Getenv(addressVariable) }

// Namespace is one of the test's own.
func Namespace() string { return fmt.Sprintf("go-%d-%d", os.Getpid(), names.Add(1)) }

// NATS is host:port of the nats-server. The test is skipped if it is not ours.
func NATS(t *testing.T) string {
	t.Helper()
	return strings.TrimPrefix(own(t).natsURL, "nats://")
}

// own is the system that was started here.
func own(t *testing.T) *system {
	t.Helper()
	if dev == nil {
		t.Skip("needs a server of its own, and " + addressVariable + " names another one")
	}
	return dev
}

// Server is a server process of a test's own on the same database, which the test may kill.
type Server struct {
	Address string

	t       *testing.T
	setting []string
	process *exec.Cmd
	ended   chan struct{}
}

// Start starts a server on a free port, with settings such as "LAYERON_JOB_LEASE_MS=2000". The test is skipped if the
// server at $LAYERON_JOB_ADDRESS is not ours.
func Start(t *testing.T, settings ...string) *Server {
	t.Helper()
	own(t)
	s := &Server{Address: freeAddress(t), t: t, setting: settings}
	s.Restart()
	t.Cleanup(s.Kill)
	return s
}

// Restart starts the server again, after a Kill or Stop.
func (s *Server) Restart() {
	s.t.Helper()
	s.process = exec.Command(program(), "serve")
	s.process.Stderr = os.Stderr
	s.process.Env = append(os.Environ(), "LAYERON_JOB_DATABASE_URL="+dev.databaseURL, "LAYERON_JOB_NATS_URL="+dev.natsURL,
		"LAYERON_JOB_GRPC_ADDRESS="+s.Address,
		"LAYERON_JOB_HTTP_ADDRESS=")
	s.process.Env = append(s.process.Env, s.setting...)
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan struct{})
	go func() {
		_ = s.process.Wait() // how it ended does not matter
		close(s.ended)
	}()
	for deadline := time.After(readyLimit); ; {
		connection, err := net.Dial("tcp", s.Address)
		if err == nil {
			_ = connection.Close()
			return
		}
		select {
		case <-s.ended:
			s.t.Fatal("the server did not start: see what it said")
		case <-deadline:
			s.t.Fatalf("no server at %s: %v", s.Address, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Kill ends the server at once.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop lets the server drain and end.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

func (s *Server) end(signal syscall.Signal) {
	_ = s.process.Process.Signal(signal) // it may have ended
	<-s.ended
}

// program is the command of this repository's server.
func program() string {
	folder, err := os.Getwd()
	for err == nil && folder != "/" {
		found := filepath.Join(folder, ".venv", "bin", "layeron-job")
		if _, missing := os.Stat(found); missing == nil {
			return found
		}
		folder = filepath.Dir(folder)
	}
	return "layeron-job"
}

func start() (*system, error) {
	folder, err := os.MkdirTemp("", "layeron-job-go-")
	if err != nil {
		return nil, err
	}
	// As root the databases run as another user, who has to get to them.
	if err := os.Chmod(folder, 0o711); err != nil {
		return nil, err
	}
	s := &system{folder: folder}
	data := filepath.Join(folder, "data")
	s.process = exec.Command(program(), "dev", "--data", data, "--port", "0")
	s.process.Stderr = os.Stderr
	output, err := s.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.process.Start(); err != nil {
		return nil, fmt.Errorf("make the .venv first, or set %s: %w", addressVariable, err)
	}
	if err := s.read(output, data); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// read waits until the system says that it is ready, and where everything is.
func (s *system) read(output io.Reader, data string) error {
	limit := time.AfterFunc(readyLimit, func() { _ = s.process.Process.Kill() }) // which ends the output
	defer limit.Stop()
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		if found := readyLine.FindStringSubmatch(lines.Text()); found != nil {
			s.address = found[1]
		}
		if found := postgresLine.FindStringSubmatch(lines.Text()); found != nil {
			password, err := os.ReadFile(filepath.Join(data, "postgres-password"))
			if err != nil {
				return err
			}
			s.databaseURL = fmt.Sprintf("postgresql://layeron:%s@127.0.0.1:%s/postgres", strings.TrimSpace(string(password)), found[1])
			s.natsURL = found[2]
			go io.Copy(io.Discard, output) //nolint:errcheck // until it ends
			return nil
		}
	}
	return errors.New("the server did not become ready")
}

func (s *system) stop() error {
	_ = s.process.Process.Signal(syscall.SIGINT) // it may have ended
	limit := time.AfterFunc(stopLimit, func() { _ = s.process.Process.Kill() })
	defer limit.Stop()
	_ = s.process.Wait() // how it ended does not matter
	return os.RemoveAll(s.folder)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// Eventually waits until it is so, with a bound.
func Eventually(t *testing.T, what string, limit time.Duration, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// Context ends after so long.
func Context(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return ctx
}
