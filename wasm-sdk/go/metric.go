//go:build wasip1

package sdk

import "unsafe"

//go:wasmimport env proxy_define_metric
func proxyDefineMetric(kind uint32, name unsafe.Pointer, n uint32, id unsafe.Pointer) uint32

//go:wasmimport env proxy_increment_metric
func proxyIncrementMetric(id uint32, delta int64) uint32

//go:wasmimport env proxy_record_metric
func proxyRecordMetric(id uint32, value int64) uint32

//go:wasmimport env proxy_get_metric
func proxyGetMetric(id uint32, value unsafe.Pointer) uint32

// Counter is a metric that only grows. Its methods, as those of the other metrics, allocate
// nothing and do not fail: what the ABI does not permit changes nothing.
type Counter struct{ id uint32 }

// Gauge is a metric that goes up and down.
type Gauge struct{ id uint32 }

// Histogram is a metric that counts samples by their size.
type Histogram struct{ id uint32 }

// DefineCounter returns the counter of that name (proxy_define_metric); all instances
// have the same one. Define metrics once, in Configure.
func DefineCounter(name string) (Counter, error) {
	id, err := define(0, name)
	return Counter{id}, err
}

// DefineGauge returns the gauge of that name, as DefineCounter.
func DefineGauge(name string) (Gauge, error) {
	id, err := define(1, name)
	return Gauge{id}, err
}

// DefineHistogram returns the histogram of that name, as DefineCounter.
func DefineHistogram(name string) (Histogram, error) {
	id, err := define(2, name)
	return Histogram{id}, err
}

func define(kind uint32, name string) (uint32, error) {
	ret.number = 0
	status := proxyDefineMetric(kind, str(name), uint32(len(name)), unsafe.Pointer(&ret.number))
	return ret.number, failure(status)
}

// Increment adds delta, which is above 0 (proxy_increment_metric).
func (c Counter) Increment(delta int64) { proxyIncrementMetric(c.id, delta) }

// Value returns how much it is (proxy_get_metric).
func (c Counter) Value() int64 { return metric(c.id) }

// Increment adds delta, which may be negative (proxy_increment_metric).
func (g Gauge) Increment(delta int64) { proxyIncrementMetric(g.id, delta) }

// Record sets it (proxy_record_metric).
func (g Gauge) Record(value int64) { proxyRecordMetric(g.id, value) }

// Value returns how much it is (proxy_get_metric).
func (g Gauge) Value() int64 { return metric(g.id) }

// Record adds a sample (proxy_record_metric).
func (h Histogram) Record(value uint64) { proxyRecordMetric(h.id, int64(value)) }

func metric(id uint32) int64 {
	if proxyGetMetric(id, unsafe.Pointer(&ret.wide)) != 0 {
		return 0
	}
	return int64(ret.wide)
}
