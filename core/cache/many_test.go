package cache_test

import (
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"penstock.dev/penstock/core/cache/store"
	"penstock.dev/penstock/core/config"
)

// TestOneKeyByMany: real goroutines on one key, for the race detector; each gets a whole
// body.
func TestOneKeyByMany(t *testing.T) {
	b := newBed(t, store.Options{MemoryBytes: 1 << 20})
	defer b.close()
	chain := b.chain(&config.Cache{StaleWhileRevalidate: time.Hour}, 0)
	stop := make(chan struct{})
	var origin, clients sync.WaitGroup
	origin.Go(func() {
		for n := 0; ; n++ {
			if a := b.take(func(int) int { return 0 }); a != nil {
				text := string(content(n, 1+n%3000))
				r := says([]string{"max-age=0", "max-age=60", "no-store"}[n%3], text)
				if n%2 == 0 {
					half := newBody([]byte(text[:len(text)/2]), nil)
					r.body = half
					a.reply <- r
					half.pour([]byte(text[len(text)/2:]), io.EOF)
				} else {
					a.reply <- r
				}
				continue
			}
			select {
			case <-stop:
				return
			default:
				runtime.Gosched()
			}
		}
	})
	for worker := range 8 {
		clients.Go(func() {
			for i := range 200 {
				c := &client{b: b, id: 1, method: "GET", path: "/a", scope: "ns/shop:80", chain: chain, step: func() int { return 0 }}
				if i%7 == 0 {
					c.fields = append(c.fields, [2]string{"Cache-Control", "no-cache"})
				}
				c.run()
				if i%5 == worker%5 {
					c.leave()
				}
				<-c.done
				var id int
				if _, err := fmt.Sscanf(string(c.body), "%d;", &id); c.status == 200 && c.whole && (err != nil || string(c.body) != string(content(id, 1+id%3000))) {
					t.Errorf("%d bytes, %.40q: %v", len(c.body), c.body, err)
				}
				if i%50 == 0 {
					_, _ = b.cache.Purge(&config.Purge{Namespace: "ns", Hostnames: []string{"shop.example"}, Soft: i%100 == 0})
				}
			}
		})
	}
	clients.Wait()
	time.Sleep(10 * time.Millisecond) // for refreshes; Close ends what still waits
	b.cache.Close()
	close(stop)
	origin.Wait()
}
