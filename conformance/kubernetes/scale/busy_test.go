package scale

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const routeChanges, endpointChanges = 100, 1000 // a second

// churn is what changes beside what is measured.
type churn struct {
	stop              context.CancelFunc
	group             sync.WaitGroup
	routes, endpoints atomic.Int64 // that were written
}

// churn changes routes below timed, and endpoints, a share of what is asked for, and as
// often as the machine can.
func (b *bench) churn(timed int, share float64) *churn {
	ctx, stop := context.WithCancel(b.Context())
	c := &churn{stop: stop}
	paced := func(rate, workers int, count *atomic.Int64, one func() error) {
		for range workers {
			c.group.Go(func() {
				t := time.NewTicker(time.Duration(float64(time.Second) * float64(workers) / (share * float64(rate))))
				defer t.Stop()
				for {
					select {
					case <-ctx.Done():
						return
					case <-t.C:
					}
					if err := one(); err != nil && ctx.Err() == nil {
						b.Error(err)
						return
					}
					count.Add(1)
				}
			})
		}
	}
	paced(routeChanges, 4, &c.routes, func() error {
		return b.client.Patch(ctx, route(rand.IntN(timed), 0), moveRoute(b.version.Add(1)))
	})
	paced(endpointChanges, 16, &c.endpoints, func() error {
		return b.client.Patch(ctx, b.slice(rand.IntN(services), 0), b.moveEndpoint(rand.IntN(2)))
	})
	return c
}

// rates returns how much is written a second, while f runs.
func (c *churn) rates(f func()) (routes, endpoints, seconds float64) {
	r, e, began := c.routes.Load(), c.endpoints.Load(), time.Now()
	f()
	seconds = time.Since(began).Seconds()
	return float64(c.routes.Load()-r) / seconds, float64(c.endpoints.Load()-e) / seconds, seconds
}

// busy measures a route's change while much changes, with traffic beside it, and who
// takes the processors then.
func (b *bench) busy(routes int, share float64) {
	// The first routes are changed all the time, those after them are timed, and
	// traffic goes to the second half, which stays as it is.
	quiet := routes / 2
	timed := quiet * 9 / 10
	c := b.churn(timed, share)
	ctx, stop := context.WithCancel(b.Context())
	serves := maps.Clone(b.serves)
	var failed, asked atomic.Int64
	var traffic sync.WaitGroup
	for w := range 8 {
		traffic.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				to := quiet + (i*8+w)%(routes-quiet)
				status, _, err := ask(b.proxies[i%len(b.proxies)], hostname(to), fmt.Sprintf("/v%d", serves[to]))
				if asked.Add(1); status != 200 && ctx.Err() == nil && failed.Add(1) < 10 {
					b.Logf("%s: %d %v", hostname(to), status, err)
				}
				time.Sleep(20 * time.Millisecond) // the processors are for changes
			}
		})
	}
	time.Sleep(5 * time.Second)
	var all []time.Duration
	used, before := processors(), asked.Load()
	r, e, seconds := c.rates(func() {
		for began := time.Now(); time.Since(began) < 20*time.Second; {
			all = append(all, b.changeRoute(timed+rand.IntN(quiet-timed)))
		}
	})
	after, requests := processors(), asked.Load()-before
	if share == 1 {
		b.profile("busy")
	}
	slices.Sort(all)
	b.row(fmt.Sprintf("a route's change beside %.0f route and %.0f endpoint changes and %.0f requests a second, of which %d failed", r, e, float64(requests)/seconds, failed.Load()), routes, all)
	stop()
	traffic.Wait()
	c.stop()
	c.group.Wait()
	if share < 1 {
		return
	}
	b.line("")
	b.line("| who took the processors in that time | of one processor |")
	b.line("| --- | ---: |")
	for _, name := range slices.SortedFunc(maps.Keys(after), func(x, y string) int { return cmp.Compare(after[y]-used[y], after[x]-used[x]) }) {
		if share := 100 * (after[name] - used[name]).Seconds() / seconds; share >= 1 {
			b.line("| %s | %.0f %% |", name, share)
		}
	}
}

// alone measures what is written to the API server without Penstock and without
// traffic: what the machine can do.
func (b *bench) alone(routes int) {
	for _, name := range []string{"penstock-control", "penstock-proxy"} {
		scale := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"replicas":0}}`))
		b.check(b.client.Patch(b.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "penstock-system", Name: name}}, scale))
	}
	for left := 1; left > 0; time.Sleep(200 * time.Millisecond) {
		var pods corev1.PodList
		b.check(b.client.List(b.Context(), &pods, client.InNamespace("penstock-system")))
		left = len(pods.Items)
	}
	c := b.churn(routes/2, 1)
	time.Sleep(2 * time.Second)
	r, e, _ := c.rates(func() { time.Sleep(10 * time.Second) })
	c.stop()
	c.group.Wait()
	b.line("")
	b.line("The same is written without Penstock and without requests: %.0f route and %.0f endpoint changes a second of the %d and %d that are asked for.", r, e, routeChanges, endpointChanges)
}

// processors returns the processor time that each kind of process has used.
func processors() map[string]time.Duration {
	const tick = time.Second / 100
	all := map[string]time.Duration{}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // it is no bad pattern
	for _, dir := range dirs {
		args, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		stat, err2 := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil || err2 != nil || len(args) == 0 {
			continue // it has ended, or is the kernel's
		}
		words := strings.Split(string(args), "\x00")
		name := filepath.Base(words[0])
		if name == "penstock" && len(words) > 1 {
			name += " " + words[1]
		}
		if filepath.Base(dir) == strconv.Itoa(os.Getpid()) {
			name = "the test, which writes and asks"
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		f := strings.Fields(rest) // from the third on, proc(5)
		if len(f) < 13 {
			continue
		}
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		all[name] += time.Duration(user+system) * tick
	}
	return all
}
