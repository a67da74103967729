package redis

import (
	"errors"
	"testing"

	"penstock.dev/penstock/hosts/capability"
)

// TestWords: what may not be sent is no list of words.
func TestWords(t *testing.T) {
	words, err := Words(appendQuery(nil, "mset", "a", "1", "b", "2"))
	if err != nil || len(words) != 5 || string(words[3]) != "b" {
		t.Errorf("got %q, %v", words, err)
	}
	for text, want := range map[string]error{
		"*1\r\n$8\r\nFLUSHALL\r\n":                           capability.ErrNotAllowed,
		"*1\r\n$3\r\nGET\r\n":                                capability.ErrMalformed,
		"*2\r\n$4\r\nMSET\r\n$1\r\na\r\n":                    capability.ErrMalformed,
		"GET a\r\n":                                          capability.ErrMalformed,
		"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n": capability.ErrMalformed,
	} {
		if _, err := Words([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%q: got %v; want %v", text, err, want)
		}
	}
}
