package main

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/remote"
	"penstock.dev/penstock/core/snapshot"
	"penstock.dev/penstock/core/telemetry"
	"penstock.dev/penstock/core/upstream"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/translate"
)

// crowd is a cluster with so many HTTPRoutes, and Services behind them that declare
// these filters.
func crowd(routes, services int, plugins string) *translate.Objects {
	o := &translate.Objects{
		GatewayClasses: []*gatewayv1.GatewayClass{{ObjectMeta: metav1.ObjectMeta{Name: "penstock", UID: "class", Generation: 1}, Spec: gatewayv1.GatewayClassSpec{ControllerName: controllerName}}},
		Gateways: []*gatewayv1.Gateway{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "g", UID: "g", Generation: 1},
			Spec:       gatewayv1.GatewaySpec{GatewayClassName: "penstock", Listeners: []gatewayv1.Listener{{Name: "http", Port: 80, Protocol: "HTTP"}}},
		}},
	}
	for i := range services {
		name := fmt.Sprintf("s%d", i)
		o.Services = append(o.Services, service(name, "1", plugins))
		o.EndpointSlices = append(o.EndpointSlices, slice(name, "1", fmt.Sprintf("10.1.%d.%d", i/250, i%250)))
	}
	for i := range routes {
		o.HTTPRoutes = append(o.HTTPRoutes, httpRoute(i, 1, services))
	}
	return o
}

func service(name, version, plugins string) *corev1.Service {
	meta := metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), ResourceVersion: version}
	if plugins != "" {
		meta.Annotations = map[string]string{api.AnnotationPlugins: plugins}
	}
	return &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, Protocol: "TCP"}}}}
}

func slice(service, version, address string) *discoveryv1.EndpointSlice {
	port, name := int32(8080), ""
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: service + "-x", UID: types.UID(service + "-x"), ResourceVersion: version, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "p"}}},
	}
}

func httpRoute(i int, generation int64, services int) *gatewayv1.HTTPRoute {
	port, prefix, path := gatewayv1.PortNumber(80), gatewayv1.PathMatchPathPrefix, fmt.Sprintf("/v%d", generation)
	return &gatewayv1.HTTPRoute{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: fmt.Sprintf("r%d", i), UID: types.UID(fmt.Sprint("r", i)), Generation: generation},
		Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{Name: "g"}}},
			Hostnames:       []gatewayv1.Hostname{gatewayv1.Hostname(fmt.Sprintf("h%d.example", i))},
			Rules: []gatewayv1.HTTPRouteRule{{
				Matches:     []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: &prefix, Value: &path}}},
				BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(fmt.Sprintf("s%d", i%services)), Port: &port}}}},
			}},
		},
	}
}

type noSockets struct{}

func (noSockets) Reconcile([]config.Socket) error { return nil }

// BenchmarkChange is what one change costs at each step from objects to what serves.
func BenchmarkChange(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		benchmarkChange(b, "", n, "")
		// Images are none of this: the filters are not started.
		benchmarkChange(b, "filtered-", n, "[transform]")
	}
}

func benchmarkChange(b *testing.B, prefix string, n int, filters string) {
	services := max(1, n/2)
	o := crowd(n, services, filters)
	tr := translate.New(translatorOptions(nil))
	var encoder remote.Encoder
	decoder := remote.NewDecoder()
	m := telemetry.New()
	plugins := plugin.New(plugin.Options{Log: zap.NewNop(), Metrics: m})
	groups := upstream.New(zap.NewNop(), m, upstream.NetDialer{})
	store := snapshot.New(netip.MustParseAddr("127.0.0.1"), noSockets{}, groups, plugins, nil, m)
	generation := int64(1)
	var c *config.Config
	var u *remote.Update
	var endpoints map[string]*config.EndpointSet
	var last *translate.Result
	var changed *translate.Changes
	steps := []struct {
		name string
		do   func() error
	}{
		{"translate", func() error {
			if changed == nil {
				last = tr.Translate(o)
			} else if last = tr.Change(last, changed); last == nil {
				return errors.New("not without a whole translation")
			}
			c = last.Config
			return nil
		}},
		{"encode", func() (err error) { u, err = encoder.Encode(c); return err }},
		{"decode", func() (err error) {
			if endpoints, err = decoder.Endpoints(&u.Endpoints); err != nil || u.Config.Empty() {
				return err
			}
			c, err = decoder.Config(&u.Config)
			return err
		}},
		{"apply", func() error {
			if store.ApplyEndpoints(endpoints); u.Config.Empty() {
				return nil
			}
			return store.Apply(c)
		}},
	}
	if filters != "" {
		steps = steps[:3]
	}
	all := func() error {
		for _, s := range steps {
			if err := s.do(); err != nil {
				return err
			}
		}
		return nil
	}
	if err := all(); err != nil {
		b.Fatal(err)
	}
	x := fmt.Sprint("shop/r", n/2)
	for _, change := range []struct {
		name string
		next func() *translate.Changes
	}{
		{"route", func() *translate.Changes {
			return &translate.Changes{HTTPRoutes: map[string]*gatewayv1.HTTPRoute{x: httpRoute(n/2, generation, services)}}
		}},
		{"routes", func() *translate.Changes { // one goes, one comes
			if generation%2 == 0 {
				return &translate.Changes{HTTPRoutes: map[string]*gatewayv1.HTTPRoute{x: nil}}
			}
			return &translate.Changes{HTTPRoutes: map[string]*gatewayv1.HTTPRoute{x: httpRoute(n/2, generation, services)}}
		}},
		{"endpoint", func() *translate.Changes {
			return &translate.Changes{EndpointSlices: map[string][]*discoveryv1.EndpointSlice{"shop/s0": {slice("s0", fmt.Sprint(generation), fmt.Sprint("10.2.0.", generation%250))}}}
		}},
		{"service", func() *translate.Changes {
			s, protocols := service("s0", fmt.Sprint(generation), filters), []string{"http", "kubernetes.io/h2c"}
			s.Spec.Ports[0].AppProtocol = &protocols[generation%2]
			return &translate.Changes{Services: map[string]*corev1.Service{"shop/s0": s}}
		}},
	} {
		for i, s := range steps {
			b.Run(fmt.Sprintf("%s%s/%d/%s", prefix, change.name, n, s.name), func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					generation++
					changed = change.next()
					for j, s := range steps {
						if j == i {
							b.StartTimer()
						}
						if err := s.do(); err != nil {
							b.Fatal(err)
						}
						b.StopTimer()
					}
				}
			})
		}
		b.Run(fmt.Sprintf("%s%s/%d/all", prefix, change.name, n), func(b *testing.B) {
			for range b.N {
				generation++
				changed = change.next()
				if err := all(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	store.Close()
	plugins.Close()
	groups.Close()
}

// TestChangesLeaveNothing: what is replaced is let go of, on both ends of the wire.
func TestChangesLeaveNothing(t *testing.T) {
	const n = 500
	o := crowd(n, n, "")
	tr := translate.New(translatorOptions(nil))
	var encoder remote.Encoder
	decoder := remote.NewDecoder()
	m := telemetry.New()
	plugins := plugin.New(plugin.Options{Log: zap.NewNop(), Metrics: m})
	groups := upstream.New(zap.NewNop(), m, upstream.NetDialer{})
	store := snapshot.New(netip.MustParseAddr("127.0.0.1"), noSockets{}, groups, plugins, nil, m)
	t.Cleanup(func() { store.Close(); plugins.Close(); groups.Close() })
	generation := int64(1)
	last := tr.Translate(o)
	change := func(times int) (heap uint64) {
		for range times {
			generation++
			r, x := httpRoute(int(generation)%n, generation, n), fmt.Sprintf("shop/r%d", generation%n)
			o.HTTPRoutes[generation%n] = r
			next := tr.Change(last, &translate.Changes{HTTPRoutes: map[string]*gatewayv1.HTTPRoute{x: r}})
			if next == nil {
				t.Fatal("not without a whole translation")
			}
			last = next
			u, err := encoder.Encode(last.Config)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decoder.Endpoints(&u.Endpoints); err != nil {
				t.Fatal(err)
			}
			c, err := decoder.Config(&u.Config)
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Apply(c); err != nil {
				t.Fatal(err)
			}
		}
		var s runtime.MemStats
		for range 2 { // what has finalizers goes at the second
			runtime.GC()
		}
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	before := change(n)
	if after := change(2 * n); after > before+2<<20 {
		t.Errorf("%d KiB are held after %d changes, %d after %d", before>>10, n, after>>10, 3*n)
	}
}
