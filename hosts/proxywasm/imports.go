package proxywasm

import (
	"encoding/binary"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/sandbox"
)

// hostFunc serves one import: p is its parameters, the result its status. The
// filter that it is for is v.r.f.
type hostFunc struct {
	params int
	f      func(v *vm, p []uint64) uint32
}

// earlyFuncs work before proxy_on_vm_start; the others answer INTERNAL_FAILURE
// until then (Proxy-Wasm, life cycle).
var earlyFuncs = map[string]bool{
	"proxy_log": true, "proxy_get_log_level": true, "proxy_get_current_time_nanoseconds": true, "proxy_set_effective_context": true,
}

// u truncates a parameter: the upper half of an i32 is undefined.
func u(p uint64) uint32 { return uint32(p) }

// imports returns the chooser of host functions. A name that is not known, or
// has other parameters than it should, is left to the sandbox, whose stub
// answers UNIMPLEMENTED.
func imports() func(sandbox.Import) sandbox.HostFunc {
	table := map[string]hostFunc{}
	for _, part := range []map[string]hostFunc{mapImports(), bufferImports(), controlImports(), stateImports(), callImports()} {
		for name, h := range part {
			table[name] = h
		}
	}
	return func(imp sandbox.Import) sandbox.HostFunc {
		if imp.Module != "env" || len(imp.Type.Results) > 1 {
			return nil
		}
		switch {
		case imp.Name == "emscripten_notify_memory_growth" && len(imp.Type.Results) == 0:
			return func(*sandbox.Instance, []uint64) {}
		case imp.Name == "pthread_equal" && len(imp.Type.Params) == 2 && len(imp.Type.Results) == 1:
			return func(_ *sandbox.Instance, stack []uint64) {
				equal := uint64(0)
				if u(stack[0]) == u(stack[1]) {
					equal = 1
				}
				stack[0] = equal
			}
		}
		h, ok := table[imp.Name]
		if !ok || len(imp.Type.Params) != h.params {
			return nil
		}
		result, early := len(imp.Type.Results) == 1, earlyFuncs[imp.Name]
		return func(i *sandbox.Instance, stack []uint64) {
			status := statusInternal
			if v, ok := i.Data.(*vm); ok && (early || !v.early) { // a start section runs before there is one
				i.Spend(stepsOfCall)
				status = h.f(v, stack)
			}
			if result {
				stack[0] = uint64(status)
			}
		}
	}
}

// callImports are calls out, queues, and what vendors add.
func callImports() map[string]hostFunc {
	unimplemented := func(*vm, []uint64) uint32 { return statusUnimplemented }
	return map[string]hostFunc{
		"proxy_http_call":                  {10, httpCall},
		"proxy_get_status":                 {3, getStatus},
		"proxy_grpc_call":                  {12, grpcCall},
		"proxy_grpc_stream":                {9, grpcStream},
		"proxy_grpc_send":                  {4, grpcSend},
		"proxy_grpc_cancel":                {1, grpcCancel},
		"proxy_grpc_close":                 {1, grpcClose},
		"proxy_register_shared_queue":      {3, registerQueue},
		"proxy_resolve_shared_queue":       {5, resolveQueue},
		"proxy_enqueue_shared_queue":       {3, enqueue},
		"proxy_dequeue_shared_queue":       {3, dequeue},
		"proxy_redis_init":                 {7, redisInit},
		"proxy_redis_call":                 {5, redisCall},
		"proxy_get_upstream_hosts":         {2, unimplemented},
		"proxy_set_upstream_override_host": {2, unimplemented},
		"proxy_inject_encoded_data_to_filter_chain": {3, func(v *vm, p []uint64) uint32 {
			data, ok := v.read(p[0], p[1])
			if !ok {
				return statusInvalidMemory
			}
			return v.inject(data, u(p[2]) != 0)
		}},
	}
}

// What a host function costs a guest, in steps, beside what the dear ones charge.
const (
	stepsOfCall  = 50
	bytesOfAStep = 16 // that are copied
	// comparedOfAStep is how much of a name is compared with each field's.
	comparedOfAStep = 8
)

// search charges the guest for looking for a name among fields, or for each of
// them if it is empty.
func (v *vm) search(h *exchange.Header, name []byte) {
	v.i.Spend(searchSteps(h.Len(), len(name)))
}

// searchSteps is what looking for a name of that many bytes among fields costs:
// each is looked at, and few have a name of the same length, which is compared.
func searchSteps(fields, bytes int) int64 {
	return int64(fields) * int64(1+bytes/comparedOfAStep)
}

// read returns guest memory; the view is valid until the guest runs again.
func (v *vm) read(ptr, size uint64) ([]byte, bool) {
	b, ok := v.i.Memory().Read(u(ptr), u(size))
	v.i.Spend(int64(len(b)) / bytesOfAStep)
	return b, ok
}

// writeU32 stores a number for the guest.
func (v *vm) writeU32(ptr uint64, n uint32) bool { return v.i.Memory().WriteUint32Le(u(ptr), n) }

// give copies data into memory that the guest allocates, and stores where and
// how much. An empty result has address 0.
func (v *vm) give(data []byte, ptr, size uint64) uint32 {
	address := uint32(0)
	v.i.Spend(int64(len(data)) / bytesOfAStep)
	if len(data) > 0 {
		v.allocStack[0] = uint64(len(data))
		if v.i.Call(v.alloc, nil, v.allocStack[:]) != nil {
			return statusInternal // not reached: a failed nested call ends the outer one
		}
		if address = u(v.allocStack[0]); address == 0 || !v.i.Memory().Write(address, data) {
			return statusInvalidMemory
		}
	}
	if !v.writeU32(ptr, address) || !v.writeU32(size, uint32(len(data))) {
		return statusInvalidMemory
	}
	return statusOK
}

// stateImports are log, time, ticks, configuration.
func stateImports() map[string]hostFunc {
	return map[string]hostFunc{
		"proxy_log": {3, func(v *vm, p []uint64) uint32 {
			if u(p[0]) > levelCritical {
				return statusBadArgument
			}
			line, ok := v.read(p[1], p[2])
			if !ok {
				return statusInvalidMemory
			}
			v.r.f.log.write(v.exchange(), u(p[0]), line)
			return statusOK
		}},
		"proxy_get_log_level": {1, func(v *vm, p []uint64) uint32 {
			if !v.writeU32(p[0], v.r.f.log.level()) {
				return statusInvalidMemory
			}
			return statusOK
		}},
		"proxy_get_current_time_nanoseconds": {1, func(v *vm, p []uint64) uint32 {
			if !v.i.Memory().WriteUint64Le(u(p[0]), uint64(v.r.f.abi.o.Clock.Now().UnixNano())) {
				return statusInvalidMemory
			}
			return statusOK
		}},
		"proxy_set_tick_period_milliseconds": {1, func(v *vm, p []uint64) uint32 {
			v.r.setTick(time.Duration(u(p[0])) * time.Millisecond)
			return statusOK
		}},
		"proxy_get_configuration": {2, func(v *vm, p []uint64) uint32 {
			if v.vmStart {
				return v.give(v.r.f.config.VMConfig, p[0], p[1])
			}
			return v.give(v.r.f.config.Config, p[0], p[1])
		}},
		"proxy_get_shared_data":  {5, getShared},
		"proxy_set_shared_data":  {5, setShared},
		"proxy_define_metric":    {4, defineMetric},
		"proxy_increment_metric": {2, incrementMetric},
		"proxy_record_metric":    {2, recordMetric},
		"proxy_get_metric":       {2, getMetric},
		"proxy_get_property":     {4, getProperty},
		"proxy_set_property":     {4, setProperty},
	}
}

// appendU64 is how integers of properties are written.
func appendU64(b []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(b, n) }
