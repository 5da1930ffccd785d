package testserver

import (
	"net"
	"sync"
	"testing"
)

// Proxy is a connection to a server that a test may cut.
type Proxy struct {
	Address string

	to       string
	listener net.Listener
	mu       sync.Mutex
	mute     bool
	open     map[net.Conn]struct{}
}

// NewProxy listens for connections to the server at an address.
func NewProxy(t *testing.T, to string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Address: listener.Addr().String(), to: to, listener: listener, open: map[net.Conn]struct{}{}}
	var accepting sync.WaitGroup
	accepting.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.Cut()
		accepting.Wait()
	})
	return p
}

// Cut ends all connections; new ones are taken.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		_ = conn.Close()
	}
	clear(p.open)
}

// Mute holds back what the server says, and lets connections stay as they are: the callers' requests still arrive.
func (p *Proxy) Mute(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mute = mute
}

func (p *Proxy) accept() {
	var copying sync.WaitGroup
	defer copying.Wait()
	for {
		caller, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = caller.Close()
			continue
		}
		p.mu.Lock()
		p.open[caller], p.open[server] = struct{}{}, struct{}{}
		p.mu.Unlock()
		copying.Go(func() { p.copy(server, caller, false) })
		copying.Go(func() { p.copy(caller, server, true) })
	}
}

func (p *Proxy) copy(to, from net.Conn, answers bool) {
	defer func() {
		_ = to.Close()
		_ = from.Close()
	}()
	buffer := make([]byte, 32<<10)
	for {
		size, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		lost := answers && p.mute
		p.mu.Unlock()
		if lost {
			continue
		}
		if _, err := to.Write(buffer[:size]); err != nil {
			return
		}
	}
}
