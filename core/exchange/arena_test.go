package exchange

import (
	"bytes"
	"testing"
)

func TestArena(t *testing.T) {
	var a Arena
	for round, end := range []func(){a.Reset, a.Release, a.Reset, a.Release} {
		var kept [][]byte
		for i, n := range []int{1, arenaBlock - 2, 7, 3 * arenaBlock, 0, 100} {
			b := a.Copy(bytes.Repeat([]byte{byte(i)}, n))
			if len(b) != n || cap(b) != n {
				t.Fatalf("round %d: %d bytes with room for %d; want %d and no more", round, len(b), cap(b), n)
			}
			kept = append(kept, b)
		}
		for i, b := range kept {
			if !bytes.Equal(b, bytes.Repeat([]byte{byte(i)}, len(b))) {
				t.Errorf("round %d: copy %d was written over", round, i)
			}
		}
		end()
	}
	var other Arena
	mine, its := a.CopyString("mine"), other.CopyString("its")
	if a.first == other.first || string(mine) != "mine" || string(its) != "its" {
		t.Error("two arenas share a block")
	}
}
