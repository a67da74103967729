package compress

import (
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/hosts/capability"
)

func TestMemoryIsBounded(t *testing.T) {
	r := New(4*encoderBytes(capability.Gzip, 5), telemetry.New())
	one, err := r.Encode("a", capability.Gzip, 5)
	two, err2 := r.Encode("a", capability.Gzip, 5)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	if _, err := r.Encode("a", capability.Gzip, 5); !errors.Is(err, capability.ErrCodingMemory) {
		t.Errorf("beyond a namespace's half: %v", err)
	}
	for range 2 {
		if _, err := r.Encode("b", capability.Gzip, 5); err != nil {
			t.Errorf("another namespace: %v", err)
		}
	}
	if _, err := r.Encode("c", capability.Gzip, 5); !errors.Is(err, capability.ErrCodingMemory) {
		t.Errorf("beyond all: %v", err)
	}
	one.Release()
	one.Release()
	two.Release()
	if got, want := r.Held(), 2*encoderBytes(capability.Gzip, 5); got != want {
		t.Errorf("%d are held; want %d", got, want)
	}
	for _, test := range []struct {
		c     capability.Coding
		level int
	}{{capability.Deflate, 1}, {0, 1}, {capability.Gzip, 10}, {capability.Gzip, -1}, {99, 1}} {
		if _, err := r.Encode("a", test.c, test.level); !errors.Is(err, capability.ErrCoding) {
			t.Errorf("%d %d: %v", test.c, test.level, err)
		}
	}
	for _, codings := range [][]capability.Coding{nil, {99}, {1, 1, 1, 1}} {
		if _, err := r.Decode("a", codings, 1); !errors.Is(err, capability.ErrCoding) {
			t.Errorf("%v: %v", codings, err)
		}
	}
}

// TestRelease: a body may be given up while another goroutine reads it.
func TestRelease(t *testing.T) {
	r := all()
	for i := range 50 {
		e, _ := r.Encode("ns", encoded[i%3], 1)
		x := response(&chunks{data: text(100_000), sizes: []int{100, 1000, 5000}, end: io.EOF}, -1)
		if err := e.Convert(x, false); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		group.Go(func() { _, _ = io.Copy(io.Discard, reader{x.Response.Body}) })
		e.Release()
		group.Wait()
	}
	if r.Held() != 0 {
		t.Errorf("%d bytes are held", r.Held())
	}
}

// TestMemory: encoders and decoders take no more than is counted.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("with the race detector all takes more")
	}
	measure := func(do func() any) int64 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		kept := do()
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(kept)
		return int64(after.HeapAlloc) - int64(before.HeapAlloc)
	}
	plain := text(2 << 20)
	for _, c := range encoded {
		for _, level := range []int{1, 3, 4, 5, 6, 7, 8, 9} {
			got := measure(func() any {
				r := all()
				e, _ := r.Encode("ns", c, level)
				x := response(&chunks{data: plain, end: errors.New("cut")}, -1)
				_ = e.Convert(x, false)
				p := make([]byte, 4<<10)
				for e.(*encoding).inner.(*chunks).reads < 60 {
					_, _ = x.Response.Body.Read(p)
				}
				return []any{r, x}
			})
			t.Logf("encoding %v %d: %d KiB", c, level, got>>10)
			if want := encoderBytes(c, level); got > want {
				t.Errorf("%v %d takes %d; counted are %d", c, level, got, want)
			}
		}
	}
	random := make([]byte, 10<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	for _, c := range []capability.Coding{capability.Gzip, capability.Deflate, capability.Brotli, capability.Zstd} {
		data := pack(t, c, random)
		got := measure(func() any {
			r := all()
			d, _ := r.Decode("ns", []capability.Coding{c}, 1<<30)
			x := response(&chunks{data: data, end: io.EOF}, -1)
			_ = d.Convert(x, false)
			p := make([]byte, 32<<10)
			for n := 0; n < 9<<20; {
				m, _ := x.Response.Body.Read(p)
				n += m
			}
			return []any{r, x, data}
		})
		t.Logf("decoding %v: %d KiB", c, got>>10)
		if got > decoderBytes[c] {
			t.Errorf("%v takes %d; counted are %d", c, got, decoderBytes[c])
		}
	}
}
