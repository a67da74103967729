package readme

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Example is a README's: its first block of YAML that is whole objects, and its blocks of
// console lines.
type Example struct {
	Objects string
	Steps   []Step
}

// Step is a line of the console, and what follows it.
type Step struct {
	// Line is the command, as it is written.
	Line string
	curl curl
	want []string
}

// Read reads the README in a file.
func Read(file string) (*Example, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	e, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return e, nil
}

// Secure reports whether the command speaks HTTPS.
func (s *Step) Secure() bool { return s.curl.url.Scheme == "https" }

// Secure reports whether the console has such commands: Identities' objects are needed then.
func (e *Example) Secure() bool {
	return slices.ContainsFunc(e.Steps, func(s Step) bool { return s.Secure() })
}

var (
	block      = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	objectKind = regexp.MustCompile(`(?m)^kind: `)
	objectName = regexp.MustCompile(`(?m)^metadata:(?: \{name: ([a-z0-9-]+)|(?:\n .*?)*?\n  name: ([a-z0-9-]+))`)
)

// Parse reads a README. The error says which line is not understood, or what is missing.
func Parse(text string) (*Example, error) {
	e := &Example{}
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		switch {
		case m[1] == "yaml" && e.Objects == "" && objectKind.MatchString(m[2]):
			e.Objects = m[2]
		case m[1] == "console":
			steps, err := console(m[2])
			if err != nil {
				return nil, err
			}
			e.Steps = append(e.Steps, steps...)
		}
	}
	if e.Objects == "" {
		return nil, errors.New("no block of YAML has whole objects")
	}
	if len(e.Steps) == 0 {
		return nil, errors.New("no block of console lines begins with $ curl")
	}
	return e, nil
}

// console reads lines: "$ " begins a command, which goes on after a backslash.
func console(text string) ([]Step, error) {
	var steps []Step
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		command, ok := strings.CutPrefix(lines[i], "$ ")
		if !ok {
			if len(steps) == 0 {
				return nil, fmt.Errorf("%q comes before any command", lines[i])
			}
			last := &steps[len(steps)-1]
			last.want = append(last.want, lines[i])
			continue
		}
		for strings.HasSuffix(command, `\`) && i+1 < len(lines) {
			i++
			command = strings.TrimSuffix(command, `\`) + strings.TrimSpace(lines[i])
		}
		words, err := split(command)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", command, err)
		}
		c, err := parseCurl(words)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", command, err)
		}
		steps = append(steps, Step{Line: command, curl: *c})
	}
	return steps, nil
}

// Names returns the names of the example's objects of a kind.
func (e *Example) Names(kind string) []string { return e.names(kind, "") }

// Chained returns the names of those that have plugins.
func (e *Example) Chained(kind string) []string { return e.names(kind, "penstock.dev/plugins:") }

// names returns the names of objects of a kind that hold a text.
func (e *Example) names(kind, text string) []string {
	var all []string
	for _, o := range strings.Split(e.Objects, "\n---\n") {
		if !regexp.MustCompile(`(?m)^kind: `+regexp.QuoteMeta(kind)+`$`).MatchString(o) || !strings.Contains(o, text) {
			continue
		}
		if m := objectName.FindStringSubmatch(o); m != nil {
			all = append(all, m[1]+m[2])
		}
	}
	return all
}

var metadata = regexp.MustCompile(`(?m)^metadata:( \{|$)`)

// In returns the objects as those of a namespace.
func (e *Example) In(namespace string) string { return In(e.Objects, namespace) }

// In returns objects as those of a namespace.
func In(objects, namespace string) string {
	return metadata.ReplaceAllStringFunc(objects, func(s string) string {
		if strings.HasSuffix(s, "{") {
			return s + "namespace: " + namespace + ", "
		}
		return s + "\n  namespace: " + namespace
	})
}
