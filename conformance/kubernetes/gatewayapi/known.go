package gatewayapi

import (
	"fmt"
	"os"
	"strings"
)

// readKnown reads a list of known failures: a test's name, and on the next lines,
// behind white space, the reason, which each must have. Lines that begin with #
// are comments.
func readKnown(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	known, last := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "" || line[0] == '#':
		case trimmed != line:
			known[last] = strings.TrimSpace(known[last] + " " + trimmed)
		default:
			last = line
			known[last] = ""
		}
	}
	for name, reason := range known {
		if name == "" || reason == "" {
			return nil, fmt.Errorf("%s: %q has no reason", file, name)
		}
	}
	return known, nil
}
