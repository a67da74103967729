//go:build wasip1

// Command metrics is a plugin on the public Go SDK: counters, gauges, histograms, shared data, log.
package main

import (
	"encoding/binary"
	"strconv"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct {
	types.DefaultPluginContext
	counter proxywasm.MetricCounter
	gauge   proxywasm.MetricGauge
	sizes   proxywasm.MetricHistogram
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	p.counter = proxywasm.DefineCounterMetric("requests_seen")
	p.gauge = proxywasm.DefineGaugeMetric("last_total")
	p.sizes = proxywasm.DefineHistogramMetric("path_bytes")
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	s.plugin.counter.Increment(1)
	path, err := proxywasm.GetHttpRequestHeader(":path")
	must(err)
	s.plugin.sizes.Record(uint64(len(path)))
	total := s.total()
	s.plugin.gauge.Add(int64(total) - s.plugin.gauge.Value())
	must(proxywasm.AddHttpRequestHeader("x-total", strconv.FormatUint(total, 10)))
	proxywasm.LogInfof("request %d", total)
	return types.ActionContinue
}

// total counts in shared data, which outlives instances.
func (s *stream) total() uint64 {
	for {
		value, cas, err := proxywasm.GetSharedData("total")
		if err != nil && err != types.ErrorStatusNotFound {
			panic(err)
		}
		var n uint64
		if len(value) == 8 {
			n = binary.LittleEndian.Uint64(value)
		}
		err = proxywasm.SetSharedData("total", binary.LittleEndian.AppendUint64(nil, n+1), cas)
		if err == nil {
			return n + 1
		}
		if err != types.ErrorStatusCasMismatch {
			panic(err)
		}
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
