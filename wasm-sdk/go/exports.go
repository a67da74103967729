//go:build wasip1

package sdk

import "unsafe"

//go:wasmexport proxy_abi_version_0_2_1
func abiVersion() {}

// scratch is where the host puts what a host function returns. One host
// function returns one block, read before the next call, so that one block is
// enough and nothing is ever freed.
var scratch []byte

//go:wasmexport proxy_on_memory_allocate
func memoryAllocate(size uint32) uint32 {
	if int(size) > cap(scratch) {
		scratch = make([]byte, max(int(size), 4096))
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(scratch))))
}

//go:wasmexport proxy_on_context_create
func contextCreate(id, parent uint32) {
	effective = id
	if parent == 0 {
		contexts.plugins[id] = registered()
		return
	}
	contexts.streams[id] = contexts.plugins[parent].NewStream()
}

//go:wasmexport proxy_on_vm_start
func vmStart(root, size uint32) uint32 {
	effective = root
	s, ok := contexts.plugins[root].(VMStarter)
	if !ok {
		return 1
	}
	return accepted(s.VMStart(vmConfiguration.copy(size)))
}

//go:wasmexport proxy_on_configure
func configure(root, size uint32) uint32 {
	effective = root
	return accepted(contexts.plugins[root].Configure(pluginConfiguration.copy(size)))
}

// copy returns a configuration of that size, to be kept.
func (b Buffer) copy(size uint32) []byte {
	if size == 0 {
		return nil
	}
	return append([]byte(nil), b.get(0, size)...)
}

// accepted is what a start returns, which logs why it failed.
func accepted(err error) uint32 {
	if err != nil {
		Log(Error, err.Error())
		return 0
	}
	return 1
}

//go:wasmexport proxy_on_request_headers
func requestHeaders(id, _, end uint32) uint32 {
	effective = id
	return uint32(contexts.streams[id].RequestHeaders(end != 0))
}

// contextGone is what openStream returns with Continue for a stream that is not kept.
const contextGone = 1 << 8

// openStream is Penstock's own: proxy_on_context_create of a stream and
// proxy_on_request_headers in one call; before it, if ended is not 0, what is left of
// proxy_on_delete of another stream.
//
//go:wasmexport penstock_on_request_headers
func openStream(root, id, _, end, ended uint32) uint32 {
	if ended != 0 {
		delete(contexts.streams, ended)
	}
	effective = id
	s := contexts.plugins[root].NewStream()
	if !contexts.wanted[root].endWithRequestHeaders() {
		contexts.streams[id] = s
		return uint32(s.RequestHeaders(end != 0))
	}
	action := s.RequestHeaders(end != 0)
	if action == Continue && len(httpCalls) == 0 && len(grpcCalls) == 0 {
		return contextGone // no callback is to come: it is not worth a place
	}
	contexts.streams[id] = s
	return uint32(action)
}

//go:wasmexport proxy_on_request_body
func requestBody(id, size, end uint32) uint32 {
	effective = id
	return uint32(contexts.streams[id].RequestBody(int(size), end != 0))
}

//go:wasmexport proxy_on_request_trailers
func requestTrailers(id, _ uint32) uint32 {
	effective = id
	return uint32(contexts.streams[id].RequestTrailers())
}

//go:wasmexport proxy_on_response_headers
func responseHeaders(id, _, end uint32) uint32 {
	effective = id
	return uint32(contexts.streams[id].ResponseHeaders(end != 0))
}

//go:wasmexport proxy_on_response_body
func responseBody(id, size, end uint32) uint32 {
	effective = id
	return uint32(contexts.streams[id].ResponseBody(int(size), end != 0))
}

//go:wasmexport proxy_on_response_trailers
func responseTrailers(id, _ uint32) uint32 {
	effective = id
	return uint32(contexts.streams[id].ResponseTrailers())
}

//go:wasmexport proxy_on_done
func done(id uint32) uint32 {
	effective = id
	if s := contexts.streams[id]; s != nil {
		s.Done()
	} else if f, ok := contexts.plugins[id].(Finisher); ok && !f.Done() {
		return 0
	}
	return 1
}

//go:wasmexport proxy_on_log
func logStream(id uint32) {
	effective = id
	if l, ok := contexts.streams[id].(Logger); ok {
		l.Log()
	}
}

//go:wasmexport proxy_on_delete
func deleteContext(id uint32) {
	effective = id
	if len(grpcCalls) > 0 {
		leaveGRPC(id)
	}
	delete(contexts.streams, id)
	if contexts.plugins[id] != nil {
		delete(contexts.plugins, id)
		delete(contexts.wanted, id)
		forgetCalls()
	}
}

// forgetCalls drops the calls of contexts that have ended: a Plugin that has ended too is
// not told what came of them.
func forgetCalls() {
	ended := func(context uint32) bool { return contexts.streams[context] == nil && contexts.plugins[context] == nil }
	for id, c := range httpCalls {
		if ended(c.context) {
			delete(httpCalls, id)
		}
	}
	for id, c := range grpcCalls {
		if ended(c.context) {
			delete(grpcCalls, id)
		}
	}
}

//go:wasmexport proxy_on_foreign_function
func foreignFunction(root, function, size uint32) {
	effective = root
	if f, ok := contexts.plugins[root].(ForeignReceiver); ok {
		f.ForeignFunction(function, foreignArguments.get(0, size))
	}
}
