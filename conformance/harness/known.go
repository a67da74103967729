package harness

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

// KnownFailures reads testdata/known-failures.txt of the test's package: a case's name,
// and on the next lines, behind white space, the reason, which each must have. Lines that
// begin with # are comments.
func KnownFailures(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("testdata/known-failures.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	known, last := map[string]string{}, ""
	for s := bufio.NewScanner(f); s.Scan(); {
		line := s.Text()
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "" || line[0] == '#':
		case trimmed != line:
			known[last] += trimmed
		default:
			last = line
			known[last] = ""
		}
	}
	for name, reason := range known {
		if reason == "" {
			t.Errorf("%s: no reason", name)
		}
	}
	return known
}
