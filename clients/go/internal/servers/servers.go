// Package servers says where servers are and how connections to them are made.
package servers

import (
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	addressVariable = "LAYERON_JOB_ADDRESS"
	defaultAddress  = "localhost:7233"
	messageBytesMax = 16 << 20
)

// Addresses splits "host:port,host:port"; empty means $LAYERON_JOB_ADDRESS or localhost:7233.
func Addresses(given string) ([]string, error) {
	if given == "" {
		given = os.Getenv(addressVariable)
	}
	if given == "" {
		given = defaultAddress
	}
	var addresses []string
	for part := range strings.SplitSeq(given, ",") {
		if part = strings.TrimSpace(part); part != "" && !slices.Contains(addresses, part) {
			addresses = append(addresses, part)
		}
	}
	if len(addresses) == 0 {
		return nil, errors.New("must name at least one server, such as \"localhost:7233\"")
	}
	return addresses, nil
}

// DialOptions are those of every connection. Without transport credentials it is not encrypted.
func DialOptions(transport credentials.TransportCredentials) []grpc.DialOption {
	if transport == nil {
		transport = insecure.NewCredentials()
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDisableRetry(), // repeats are made by us, where it is known what is safe
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(messageBytesMax), grpc.MaxCallSendMsgSize(messageBytesMax)),
		// A connection that was cut without a word is noticed, also between calls.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 20 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
		// By default a server that is back would not be tried for up to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
}
