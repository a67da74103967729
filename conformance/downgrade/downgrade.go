package downgrade

import (
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock/conformance/harness"
)

// Section is where a rule stands for HTTP/2 and for HTTP/3.
type Section struct{ HTTP2, HTTP3 string }

// Case is a request, field by field, and what becomes of it before an upstream of
// HTTP/1.1. What is refused reaches no upstream.
type Case struct {
	Name    string
	Section Section
	Level   string // MUST, SHOULD, MAY (we are stricter), or "-" for what is common practice
	Fields  []string
	Content string   // "": the request ends with its head
	Trailer []string // nil: none
	Want    string   // "200", another status, "reset" (malformed), "gone" (the connection)
	// Origin is what the upstream has to get, parts separated by |; ! before one: has
	// not. "": nothing if Want is not 200. Begun and Ended are others.
	Origin string
}

// What else an upstream may get of a request that is refused.
const (
	Begun = "-" // it may have begun, and must not become whole
	Ended = "+" // it may have got the head, which says that there is no content
)

// The rules that both have.
var (
	message    = Section{"RFC 9113, 8.1", "RFC 9114, 4.1"}
	malformed  = Section{"RFC 9113, 8.1.1", "RFC 9114, 4.1.2"}
	names      = Section{"RFC 9113, 8.2.1", "RFC 9114, 4.2"}
	characters = Section{"RFC 9113, 8.2.1", "RFC 9114, 10.3"}
	spaces     = Section{"RFC 9113, 8.2.1", "RFC 9110, 5.5"}
	connection = Section{"RFC 9113, 8.2.2", "RFC 9114, 4.2"}
	crumbs     = Section{"RFC 9113, 8.2.3", "RFC 9114, 4.2.1"}
	size       = Section{"RFC 9113, 10.5.1", "RFC 9114, 4.2.2"}
	pseudo     = Section{"RFC 9113, 8.3", "RFC 9114, 4.3"}
	request    = Section{"RFC 9113, 8.3.1", "RFC 9114, 4.3.1"}
	connect    = Section{"RFC 9113, 8.5", "RFC 9114, 4.4"}
	extended   = Section{"RFC 8441, 4", "RFC 9220, 3"}
)

// both is a rule of all versions.
func both(section string) Section { return Section{section, section} }

// Cases returns all cases for connections of that scheme.
func Cases(scheme string) []Case {
	other := "http"
	if scheme == other {
		other = "https"
	}
	var all []Case
	for _, list := range [][]Case{targets(), authorities(), connects(), fields(), contents(), trailers()} {
		all = append(all, list...)
	}
	for _, c := range all {
		for i, f := range c.Fields {
			switch f {
			case ":scheme: SAME":
				c.Fields[i] = ":scheme: " + scheme
			case ":scheme: OTHER":
				c.Fields[i] = ":scheme: " + other
			}
		}
	}
	return all
}

// get is a request with these fields besides the usual; "-:path" leaves one out,
// ":path: /y" has another value.
func get(more ...string) []string {
	list := []string{":method: GET", ":scheme: SAME", ":authority: a.example", ":path: /x"}
	for _, m := range more {
		name, isOut := strings.CutPrefix(m, "-")
		key, replaces := name, false
		if i := strings.Index(name[1:], ":"); i >= 0 && name[0] == ':' {
			key = name[:i+1]
			replaces = true
		}
		if !isOut && !replaces {
			list = append(list, m)
			continue
		}
		for i, f := range list {
			if strings.HasPrefix(f, key+":") {
				if isOut {
					list = append(list[:i], list[i+1:]...)
				} else {
					list[i] = m
				}
				break
			}
		}
	}
	return list
}

// add is get with the fields just put behind.
func add(more ...string) []string { return append(get(), more...) }

func send(more ...string) []string { return get(append([]string{":method: POST"}, more...)...) }

// Split parts a field; "|: " stands for the end of a name with a colon in it.
func Split(field string) (name, value string) {
	if name, value, ok := strings.Cut(field, "|: "); ok {
		return name, value
	}
	i := strings.Index(field[1:], ":")
	if field[0] == ':' && i >= 0 {
		return field[:i+1], strings.TrimPrefix(field[i+2:], " ")
	}
	name, value, _ = strings.Cut(field, ":")
	return name, strings.TrimPrefix(value, " ")
}

// Next is the path of a request that an upstream has to get whole after each case:
// one that is left over from it would be in its way.
const Next = "/next"

// Judge compares what o has seen since it was reset with what c wants.
func Judge(t testing.TB, o *harness.Origin, c *Case, got string) {
	t.Helper()
	about := fmt.Sprintf("%s (%v, %s)", c.Name, c.Section, c.Level)
	if got != c.Want {
		t.Errorf("%s: got %s; want %s", about, got, c.Want)
	}
	all, broken := o.Requests()
	var seen []string
	next := 0
	for _, r := range all {
		if strings.HasPrefix(r, "GET "+Next+" HTTP/1.1\r\n") {
			next++
		} else {
			seen = append(seen, r)
		}
	}
	if next != 1 {
		t.Errorf("%s: the next request was seen %d times", about, next)
	}
	if len(broken) > 0 && c.Origin != Begun {
		t.Errorf("%s: the origin got %q", about, broken)
	}
	if refused := c.Origin == "" || c.Origin == Begun || c.Origin == Ended; refused && c.Want != "200" {
		if len(seen) > 0 && c.Origin != Ended || len(seen) > 1 {
			t.Errorf("%s: the origin got %q; want none", about, seen)
		}
		return
	}
	if len(seen) != 1 {
		t.Errorf("%s: the origin got %q; want one request", about, seen)
		return
	}
	for _, want := range strings.Split(c.Origin, "|") {
		not, isNot := strings.CutPrefix(want, "!")
		if has := strings.Contains(strings.ToLower(seen[0]), strings.ToLower(not)); has == isNot {
			t.Errorf("%s: the origin got %q; want %q", about, seen[0], want)
		}
	}
}
