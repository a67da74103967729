package main

import "testing"

func TestCollectPercent(t *testing.T) {
	for _, test := range []struct {
		live, cached, least int64
		want                int
	}{
		{0, 0, 32 << 20, 800}, // no collection yet
		{1 << 20, 0, 32 << 20, 800},
		{8 << 20, 0, 32 << 20, 400},
		{32 << 20, 0, 32 << 20, 100},
		{40 << 20, 0, 32 << 20, 80},
		{1 << 30, 0, 32 << 20, 50},
		{8 << 20, 0, 1 << 20, 100},
		{0, 0, 1 << 20, 100},
		// What is cached is as much again, or most: a sixteenth of it at least.
		{64 << 20, 32 << 20, 32 << 20, 50},
		{1032 << 20, 1 << 30, 32 << 20, 5},
	} {
		if got := collectPercent(test.live, test.cached, test.least); got != test.want {
			t.Errorf("%d held, %d wanted: %d %%; want %d", test.live, test.least, got, test.want)
		}
	}
}
