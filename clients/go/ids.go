package job

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

const (
	idAlphabet   = "0123456789abcdefghjkmnpqrstvwxyz"
	idSuffixSize = 26
)

// NewRunID returns a fresh run id: "run_" and 26 characters of Crockford's base 32 over a UUIDv7. Newer ids sort after
// older ones. Give it to [WithRunID] to make the repeat of a whole program safe.
func NewRunID() string {
	return runIDOf(uuid7(time.Now()))
}

// uuid7 makes a UUIDv7 (RFC 9562). Its first 60 bits are the time, to a quarter of a microsecond, so that the ids a
// process makes are in order.
func uuid7(now time.Time) [16]byte {
	const nanosPerMilli = int64(time.Millisecond)
	nanos := now.UnixNano()
	moment, rest := uint64(nanos/nanosPerMilli), uint64(nanos%nanosPerMilli)
	var id [16]byte
	_, _ = rand.Read(id[8:]) // never fails: see crypto/rand
	id[8] = id[8]&0x3f | 0x80
	binary.BigEndian.PutUint64(id[:8], moment<<16|0x7000|rest*4096/uint64(nanosPerMilli))
	return id
}

// runIDOf writes 128 bits as 26 digits of 5 bits; the first one holds the 3 bits that are left over.
func runIDOf(uuid [16]byte) string {
	high, low := binary.BigEndian.Uint64(uuid[:8]), binary.BigEndian.Uint64(uuid[8:])
	id := []byte("run_00000000000000000000000000")
	for i := len(id) - 1; i >= len(id)-idSuffixSize; i-- {
		id[i] = idAlphabet[low&31]
		low = low>>5 | high<<59
		high >>= 5
	}
	return string(id)
}
