package store

import (
	"bytes"
	"io"
	"testing"
)

func TestSpace(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	tests := map[string]struct {
		size, limit int64
		whole       bool
	}{
		"of known size":                 {int64(len(body)), 0, true},
		"of unknown size":               {-1, 0, true},
		"more than its limit":           {-1, 300 << 10, false},
		"known to be more than that":    {int64(len(body)), 300 << 10, false},
		"shorter than it was announced": {int64(len(body)) + 1, 0, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := Open(Options{MemoryBytes: 64 << 20})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			w := s.Create([]byte("k"), nil, []byte("h"), Attributes{Namespace: "ns"}, test.size)
			w.Limit = test.limit
			r := w.Reader()
			got := make(chan []byte)
			go func() {
				all, _ := io.ReadAll(r)
				r.Close()
				got <- all
			}()
			for rest := body; len(rest) > 0; {
				n := 0
				if space := w.Space(); len(space) > 0 {
					n = copy(space, rest)
					err = w.Advance(n)
				} else {
					n, err = w.Write(rest[:min(len(rest), 1000)])
				}
				if err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			o, err := w.Commit()
			if all := <-got; !bytes.Equal(all, body) {
				t.Errorf("the reader got %d bytes; want %d", len(all), len(body))
			}
			if (err == nil) != test.whole {
				t.Fatalf("commit: %v", err)
			}
			if err != nil {
				return
			}
			if all, err := io.ReadAll(o.Reader(0, -1)); err != nil || !bytes.Equal(all, body) {
				t.Errorf("stored: %d bytes, %v", len(all), err)
			}
		})
	}
}

func TestDiscard(t *testing.T) {
	s, err := Open(Options{MemoryBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := s.Create([]byte("k"), nil, []byte("h"), Attributes{Namespace: "ns"}, 4)
	r := w.Reader()
	_, _ = w.Write([]byte("body"))
	w.Discard()
	if all, err := io.ReadAll(r); string(all) != "body" || err != nil {
		t.Errorf("%q, %v; want all of it", all, err)
	}
	if s.Get([]byte("k"), nil) != nil {
		t.Error("it is stored")
	}
	if n := s.Stats().Writing; n != 0 {
		t.Errorf("%d writers; want none", n)
	}
}
