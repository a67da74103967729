package bucket_test

import (
	"testing"
	"testing/synctest"
	"time"

	"penstock.dev/penstock/core/internal/bucket"
)

func TestBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bucket.New(10, 2, time.Now())
		take := func(n int, want bool) {
			t.Helper()
			if got := b.Take(n); got != want {
				t.Errorf("took %d: %v; want %v", n, got, want)
			}
		}
		take(10, true)
		take(1, false)
		b.Give(1)
		take(1, true)
		time.Sleep(time.Second)
		take(3, false)
		take(2, true)
		time.Sleep(time.Hour)
		take(11, false)
		take(10, true)
	})
}
