package job_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"layeron.dev/job/internal/testserver"
)

var (
	program = regexp.MustCompile("(?s)```go\n// (\\w+)/main.go\n(.*?)```")
	shown   = regexp.MustCompile("(?s)```\n(made again.*?)```")
)

func TestTheProgramsOfTheReadmeDoWhatItSays(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]string{}
	for _, found := range program.FindAllStringSubmatch(string(readme), -1) {
		programs[found[1]] = build(t, found[1], found[2])
	}
	if len(programs) != 2 {
		t.Fatalf("found %v", programs)
	}
	worker := exec.Command(programs["worker"])
	worker.Stderr = t.Output()
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	client := connect(t, testserver.Address())
	testserver.Eventually(t, "the worker has registered its task", 20*time.Second, func() bool {
		_, err := client.Tasks.Get(t.Context(), "welcome-mail")
		return err == nil
	})
	output, err := exec.Command(programs["caller"]).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, output)
	}
	if want := shown.FindStringSubmatch(string(readme))[1]; string(output) != want {
		t.Errorf("said %q, not %q", output, want)
	}
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Error(err)
	}
}

// build makes a program of this module that exists in the README only.
func build(t *testing.T, name, source string) string {
	t.Helper()
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	place, err := filepath.Abs(filepath.Join("internal", "readme", name, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {place: write("main.go", source)}})
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(folder, name)
	built := exec.Command("go", "build", "-overlay", write("overlay.json", string(overlay)), "-o", binary, "./internal/readme/"+name)
	if output, err := built.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	if formatted, err := exec.Command("gofmt", "-l", write("formatted.go", source)).Output(); err != nil || strings.TrimSpace(string(formatted)) != "" {
		t.Errorf("%s is not formatted: %v", name, err)
	}
	return binary
}
