package config

import (
	"strings"
	"testing"
)

func TestConsumerText(t *testing.T) {
	for text, want := range map[string]bool{
		"till": true, "till@example!~": true, "#1": true, strings.Repeat("x", MaxConsumerText): true,
		"": false, "a b": false, "a,b": false, `a"b`: false, "a\tb": false, "a\x7f": false, "ä": false, "a\xff": false, strings.Repeat("x", MaxConsumerText+1): false,
	} {
		if got := ConsumerText(text); got != want {
			t.Errorf("%.20q: got %v; want %v", text, got, want)
		}
	}
}

// TestCredentialIDs: neither another type nor another text has the same, nor one that is
// cut elsewhere.
func TestCredentialIDs(t *testing.T) {
	seen := map[CredentialDigest]string{}
	for _, one := range [][2]string{{"key-auth", "k"}, {"key-auth", "kk"}, {"key-auth", ""}, {"basic-auth", "k"}, {"key-aut", "h\x00k"}, {"jwt", strings.Repeat("k", 5000)}, {"jwt", strings.Repeat("k", 5001)}} {
		id := CredentialID(one[0], []byte(one[1]))
		if other, twice := seen[id]; twice {
			t.Errorf("%.20q and %.20q are one", one, other)
		}
		if seen[id] = one[0] + " " + one[1]; id != CredentialID([]byte(one[0]), []byte(one[1])) {
			t.Errorf("%.20q: bytes and text differ", one)
		}
	}
}

// TestValidateConsumers: what translate never makes is refused, with whose it is.
func TestValidateConsumers(t *testing.T) {
	right := Consumer{Namespace: "n", Name: "a", Username: "a", Credentials: []Credential{{Type: "key-auth"}}}
	change := func(do func(*Consumer)) *Consumer {
		c := right
		c.Credentials = []Credential{{Type: "key-auth"}}
		do(&c)
		return &c
	}
	for name, test := range map[string]struct {
		consumer *Consumer
		want     string
	}{
		"one that is right":       {&right, ""},
		"another name":            {change(func(c *Consumer) { c.Name = "b" }), "consumer n/b: called n/a"},
		"no username":             {change(func(c *Consumer) { c.Username = "" }), "no header can hold"},
		"a group of two words":    {change(func(c *Consumer) { c.Groups = []string{"a", "b c"} }), "no header can hold"},
		"too many groups":         {change(func(c *Consumer) { c.Groups = make([]string, MaxConsumerGroups+1) }), "no header can hold"},
		"too many credentials":    {change(func(c *Consumer) { c.Credentials = make([]Credential, MaxConsumerCredentials+1) }), "17 credentials, at most 16"},
		"a credential of no type": {change(func(c *Consumer) { c.Credentials[0].Type = "" }), "without a type"},
		"too much data":           {change(func(c *Consumer) { c.Credentials[0].Data = make([]byte, MaxCredentialData+1) }), "too much data"},
	} {
		c := &Config{Consumers: OverlayOf(map[string]*Consumer{"n/a": test.consumer})}
		err := c.Validate()
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v; want %q", name, err, test.want)
		}
		if err := c.ValidateAfter(c); err != nil {
			t.Errorf("%s: what was looked at is looked at again: %v", name, err)
		}
	}
}
