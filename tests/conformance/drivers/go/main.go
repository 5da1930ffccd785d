// Command driver does what conformance cases say, through the Go client (call) or worker (work). See the README two
// folders up.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

const lineBytesMax = 64 << 20

func main() {
	doing := map[string]func(*bufio.Scanner) error{"call": call, "work": work}
	if len(os.Args) != 2 || doing[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: driver call|work")
		os.Exit(2)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, lineBytesMax)
	if err := doing[os.Args[1]](lines); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}

type object = map[string]any

var saying sync.Mutex

// say writes one line.
func say(line object) {
	saying.Lock()
	defer saying.Unlock()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(line); err != nil {
		fmt.Fprintln(os.Stderr, "driver:", err)
		os.Exit(1)
	}
}
