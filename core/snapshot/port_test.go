package snapshot

import (
	"strings"
	"testing"
)

func TestFindingAListenerAllocatesNothing(t *testing.T) {
	p := &Port{}
	long := strings.Repeat("a", 40) + ".example.org"
	p.add("first.example", &Listener{Name: "first"})
	p.add("*.org", &Listener{Name: "org"})
	p.add("*.example.org", &Listener{Name: "example"})
	name := []byte(long)
	if n := testing.AllocsPerRun(100, func() {
		if p.Listener(name).Name != "example" || p.Named(long).Name != "example" || p.Named("").Name != "first" {
			t.Error("got another listener")
		}
	}); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
	if p.Listener([]byte("nobody.example")) != nil || p.Listener([]byte("org")) != nil {
		t.Error("a hostname that nobody has was found")
	}
	p.add("", &Listener{Name: "any"})
	if p.Named("").Name != "any" || p.Named("nobody.example").Name != "any" {
		t.Error("got another listener than the one without a hostname")
	}
}
