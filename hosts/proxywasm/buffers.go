package proxywasm

import "penstock.dev/penstock/core/filter"

// Buffers of Proxy-Wasm (proxy_buffer_type_t).
const (
	bufferRequestBody  = 0
	bufferResponseBody = 1
	bufferDownstream   = 2
	bufferUpstream     = 3
	bufferCallBody     = 4
	bufferGRPCMessage  = 5
	bufferVMConfig     = 6
	bufferPluginConfig = 7
	bufferForeign      = 8
	bufferRedis        = 9
)

// shows reports whether the guest can see what there is of the body: in its callback, and
// in that of the trailers what was held back.
func (w *way) shows() bool {
	return w.buffer != nil && (w.stage == stageBody || w.stage == stageTrailers && w.kept)
}

// buffer returns the bytes of a buffer; of a body, which can be changed, also
// where they are.
func (v *vm) buffer(kind uint32) (data []byte, body *filter.Buffer, status uint32) {
	switch kind {
	case bufferRequestBody, bufferResponseBody, bufferDownstream, bufferUpstream:
		way := uint8(kind & 1)
		s := v.reach(way)
		raw := kind >= bufferDownstream
		if s == nil || s.done || raw != (s.x == nil) || !s.ways[way].shows() {
			return nil, nil, statusNotFound
		}
		return s.ways[way].buffer.Data, s.ways[way].buffer, statusOK
	case bufferVMConfig:
		return v.r.f.config.VMConfig, nil, statusOK
	case bufferPluginConfig:
		return v.r.f.config.Config, nil, statusOK
	case bufferCallBody:
		data = v.arrived.body
		if v.arrived.headers == nil {
			return nil, nil, statusNotFound
		}
		return data, nil, statusOK
	case bufferGRPCMessage:
		data = v.arrived.message
	case bufferForeign:
		data = v.arrived.foreign
	case bufferRedis:
		data = v.arrived.redis
	default:
		return nil, nil, statusBadArgument
	}
	if data == nil {
		return nil, nil, statusNotFound
	}
	return data, nil, statusOK
}

func bufferImports() map[string]hostFunc {
	return map[string]hostFunc{
		"proxy_get_buffer_bytes":  {5, getBuffer},
		"proxy_get_buffer_status": {3, bufferStatus},
		"proxy_set_buffer_bytes":  {5, setBuffer},
	}
}

func getBuffer(v *vm, p []uint64) uint32 {
	data, _, status := v.buffer(u(p[0]))
	if status != statusOK {
		return status
	}
	if uint64(u(p[1]))+uint64(u(p[2])) > 1<<32 && u(p[2]) != 1<<32-1 {
		return statusBadArgument // but "all of it" may be written as the largest number
	}
	start := min(uint64(u(p[1])), uint64(len(data)))
	end := min(start+uint64(u(p[2])), uint64(len(data)))
	return v.give(data[start:end], p[3], p[4])
}

func bufferStatus(v *vm, p []uint64) uint32 {
	data, _, status := v.buffer(u(p[0]))
	if status != statusOK {
		return status
	}
	if !v.writeU32(p[1], uint32(len(data))) || !v.writeU32(p[2], 0) {
		return statusInvalidMemory
	}
	return statusOK
}

// setBuffer replaces length bytes from start on: at 0 with length 0 it
// prepends, at or beyond the end it appends.
func setBuffer(v *vm, p []uint64) uint32 {
	data, body, status := v.buffer(u(p[0]))
	if status != statusOK {
		return status
	}
	if body == nil {
		return statusBadArgument
	}
	insert, ok := v.read(p[3], p[4])
	if !ok {
		return statusInvalidMemory
	}
	start := min(uint64(u(p[1])), uint64(len(data)))
	end := min(start+uint64(u(p[2])), uint64(len(data)))
	size := start + uint64(len(insert)) + uint64(len(data)) - end
	if size > uint64(len(data)) && size > uint64(v.r.f.config.Limits.BodyBytes) {
		return statusInternal
	}
	v.i.Spend(int64(size) / bytesOfAStep) // all of it is copied
	out := make([]byte, 0, size)
	out = append(append(append(out, data[:start]...), insert...), data[end:]...)
	body.Data = out
	return statusOK
}
