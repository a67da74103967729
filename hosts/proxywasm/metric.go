package proxywasm

import (
	"sync"

	"penstock.dev/penstock/core/telemetry"
)

// maxMetricName bounds a metric's name, in bytes.
const maxMetricName = 1 << 10

// metricTable gives a filter's metrics their numbers: index<<2 | kind, never 0.
type metricTable struct {
	set *telemetry.GuestSet

	mu   sync.Mutex
	list []*telemetry.GuestMetric
	ids  map[*telemetry.GuestMetric]uint32
}

func (t *metricTable) define(kind telemetry.Kind, name string) (uint32, bool) {
	m, err := t.set.Define(kind, name)
	if err != nil {
		return 0, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.ids[m]; ok {
		return id, true
	}
	if t.ids == nil {
		t.ids = map[*telemetry.GuestMetric]uint32{}
	}
	t.list = append(t.list, m)
	id := uint32(len(t.list))<<2 | uint32(kind)
	t.ids[m] = id
	return id, true
}

func (t *metricTable) get(id uint32) *telemetry.GuestMetric {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := id >> 2; i >= 1 && int(i) <= len(t.list) && uint32(t.list[i-1].Kind) == id&3 {
		return t.list[i-1]
	}
	return nil
}

func defineMetric(v *vm, p []uint64) uint32 {
	name, ok := v.read(p[1], p[2])
	if !ok {
		return statusInvalidMemory
	}
	if u(p[0]) > uint32(telemetry.GuestHistogram) || len(name) == 0 || len(name) > maxMetricName {
		return statusBadArgument
	}
	id, ok := v.r.f.metrics.define(telemetry.Kind(u(p[0])), string(name))
	if !ok {
		return statusInternal
	}
	if !v.writeU32(p[3], id) {
		return statusInvalidMemory
	}
	return statusOK
}

func incrementMetric(v *vm, p []uint64) uint32 {
	m, delta := v.r.f.metrics.get(u(p[0])), int64(p[1])
	switch {
	case m == nil:
		return statusNotFound
	case m.Kind == telemetry.GuestHistogram, m.Kind == telemetry.GuestCounter && delta <= 0:
		return statusBadArgument
	}
	m.Add(delta)
	return statusOK
}

func recordMetric(v *vm, p []uint64) uint32 {
	m, value := v.r.f.metrics.get(u(p[0])), int64(p[1])
	switch {
	case m == nil:
		return statusNotFound
	case m.Kind == telemetry.GuestGauge:
		m.Set(value)
	case m.Kind == telemetry.GuestHistogram:
		m.Observe(uint64(value))
	case value < 0:
		return statusBadArgument
	default: // a counter adds
		m.Add(value)
	}
	return statusOK
}

func getMetric(v *vm, p []uint64) uint32 {
	m := v.r.f.metrics.get(u(p[0]))
	switch {
	case m == nil:
		return statusNotFound
	case m.Kind == telemetry.GuestHistogram:
		return statusBadArgument
	case !v.i.Memory().WriteUint64Le(u(p[1]), uint64(m.Value())):
		return statusInvalidMemory
	}
	return statusOK
}
