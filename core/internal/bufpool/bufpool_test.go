package bufpool_test

import (
	"testing"

	"penstock.dev/penstock/core/internal/bufpool"
)

func TestGet(t *testing.T) {
	tests := map[string]struct{ size, want int }{
		"nothing asked gives the smallest":       {0, bufpool.Small},
		"an exact size is not rounded up":        {bufpool.Medium, bufpool.Medium},
		"a size between is rounded up":           {bufpool.Medium + 1, bufpool.Large},
		"more than the largest is made to order": {bufpool.Largest + 1, bufpool.Largest + 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var p bufpool.Pool
			b := p.Get(test.size)
			if len(b.Bytes) != test.want {
				t.Errorf("%d bytes; want %d", len(b.Bytes), test.want)
			}
			b.Bytes = b.Bytes[:1]
			p.Put(b)
			if b := p.Get(test.size); len(b.Bytes) != test.want {
				t.Errorf("%d bytes after Put; want %d", len(b.Bytes), test.want)
			}
		})
	}
	var p bufpool.Pool
	p.Put(nil)
}

func TestWarmGetAllocatesNothing(t *testing.T) {
	var p bufpool.Pool
	if n := testing.AllocsPerRun(100, func() { p.Put(p.Get(bufpool.Medium)) }); n != 0 {
		t.Errorf("%v allocations; want 0", n)
	}
}
