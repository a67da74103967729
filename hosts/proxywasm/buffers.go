package proxywasm

// Buffers of Proxy-Wasm (proxy_buffer_type_t) that this host has; the others
// belong to TCP and to calls out.
const (
	bufferRequestBody   = 0
	bufferResponseBody  = 1
	bufferVMConfig      = 6
	bufferPluginConfig  = 7
	lastKnownBufferType = 9
)

// buffer returns the bytes of a buffer; s is set for a body, which can be
// changed.
func (v *vm) buffer(kind uint32) (data []byte, s *stream, status uint32) {
	switch kind {
	case bufferRequestBody, bufferResponseBody:
		s = v.reach()
		want := phaseRequestBody
		if kind == bufferResponseBody {
			want = phaseResponseBody
		}
		if s == nil || s.phase != want || s.buffer == nil {
			return nil, nil, statusNotFound
		}
		return s.buffer.Data, s, statusOK
	case bufferVMConfig:
		return nil, nil, statusOK
	case bufferPluginConfig:
		return v.f.config.Config, nil, statusOK
	}
	if kind > lastKnownBufferType {
		return nil, nil, statusBadArgument
	}
	return nil, nil, statusNotFound
}

func (f *Filter) bufferImports() map[string]hostFunc {
	return map[string]hostFunc{
		"proxy_get_buffer_bytes":  {5, getBuffer},
		"proxy_get_buffer_status": {3, bufferStatus},
		"proxy_set_buffer_bytes":  {5, f.setBuffer},
	}
}

func getBuffer(v *vm, p []uint64) uint32 {
	data, _, status := v.buffer(u(p[0]))
	if status != statusOK {
		return status
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
func (f *Filter) setBuffer(v *vm, p []uint64) uint32 {
	data, s, status := v.buffer(u(p[0]))
	if status != statusOK {
		return status
	}
	if s == nil {
		return statusBadArgument
	}
	insert, ok := v.read(p[3], p[4])
	if !ok {
		return statusInvalidMemory
	}
	start := min(uint64(u(p[1])), uint64(len(data)))
	end := min(start+uint64(u(p[2])), uint64(len(data)))
	size := start + uint64(len(insert)) + uint64(len(data)) - end
	if size > uint64(len(data)) && size > uint64(f.config.Limits.BodyBytes) {
		return statusInternal
	}
	out := make([]byte, 0, size)
	out = append(append(append(out, data[:start]...), insert...), data[end:]...)
	s.buffer.Data = out
	return statusOK
}
