package main

import "testing"

func TestCollectPercent(t *testing.T) {
	for _, test := range []struct {
		live, least int64
		want        int
	}{
		{0, 32 << 20, 800}, // no collection yet
		{1 << 20, 32 << 20, 800},
		{8 << 20, 32 << 20, 400},
		{32 << 20, 32 << 20, 100},
		{40 << 20, 32 << 20, 80},
		{1 << 30, 32 << 20, 50},
		{8 << 20, 1 << 20, 100},
		{0, 1 << 20, 100},
	} {
		if got := collectPercent(test.live, test.least); got != test.want {
			t.Errorf("%d held, %d wanted: %d %%; want %d", test.live, test.least, got, test.want)
		}
	}
}
