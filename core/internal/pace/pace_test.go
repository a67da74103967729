package pace_test

import (
	"testing"
	"time"

	"penstock.dev/penstock/core/internal/pace"
)

func TestMeter(t *testing.T) {
	type step struct {
		bytes  int64
		waited time.Duration
	}
	tests := map[string]struct {
		least int
		steps []step
		want  bool // of the last; all before are fast enough
	}{
		"nothing yet":                     {100, []step{{0, 29 * time.Second}}, true},
		"too slow":                        {100, []step{{1, 10 * time.Second}, {1, 10 * time.Second}, {1, 10 * time.Second}}, false},
		"just enough":                     {100, []step{{2000, 20 * time.Second}, {1000, 10 * time.Second}}, true},
		"just too slow":                   {100, []step{{1000, 20 * time.Second}, {1999, 10 * time.Second}}, false},
		"what came without waiting":       {100, []step{{3000, 0}, {1, 30 * time.Second}}, true},
		"all that was fast before":        {100, []step{{1 << 30, 31 * time.Second}, {1, 29 * time.Second}, {1, time.Second}}, false},
		"slow for a time, then fast":      {100, []step{{1, 29 * time.Second}, {2999, time.Second}}, true},
		"no bound":                        {0, []step{{0, time.Hour}}, true},
		"one long wait":                   {100, []step{{5999, time.Minute}}, false},
		"one long wait that brought much": {100, []step{{6000, time.Minute}}, true},
	}
	for name, test := range tests {
		var m pace.Meter
		for i, s := range test.steps {
			want := test.want || i < len(test.steps)-1
			if got := m.Add(s.bytes, s.waited, test.least, pace.Grace); got != want {
				t.Errorf("%s, step %d: got %v; want %v", name, i, got, want)
			}
		}
	}
}
