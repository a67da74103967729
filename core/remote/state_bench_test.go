package remote

import (
	"fmt"
	"testing"
)

// BenchmarkState is what it costs to keep a config of 15,000 resources on disk: as a
// whole, and one change of it.
func BenchmarkState(b *testing.B) {
	set := newSet()
	for i := range 15_000 {
		name := fmt.Sprint("route/shop/g HTTPRoute/shop/r", i)
		set.Config[name] = &Resource{Name: name, Version: hash([]byte(name)), Bytes: make([]byte, 300)}
	}
	for _, whole := range []bool{true, false} {
		b.Run(fmt.Sprint("whole=", whole), func(b *testing.B) {
			s := kept(b.TempDir(), "k")
			defer s.close()
			if err := s.write(set); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if whole {
					s.close()
				}
				next := copied(set)
				next.Config["new"] = &Resource{Name: "new", Version: fmt.Sprint(n), Bytes: make([]byte, 300)}
				if err := s.write(next); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
