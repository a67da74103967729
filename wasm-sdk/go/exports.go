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
	if parent == 0 {
		contexts.plugins[id] = registered()
		return
	}
	contexts.streams[id] = contexts.plugins[parent].NewStream()
}

//go:wasmexport proxy_on_vm_start
func vmStart(_, _ uint32) uint32 { return 1 }

//go:wasmexport proxy_on_configure
func configure(root, size uint32) uint32 {
	var config []byte
	if size > 0 {
		config = append(config, buffer(bufferPluginConfiguration, 0, int(size))...)
	}
	if err := contexts.plugins[root].Configure(config); err != nil {
		Log(Error, err.Error())
		return 0
	}
	return 1
}

//go:wasmexport proxy_on_request_headers
func requestHeaders(id, _, end uint32) uint32 {
	return uint32(contexts.streams[id].RequestHeaders(end != 0))
}

//go:wasmexport proxy_on_request_body
func requestBody(id, size, end uint32) uint32 {
	return uint32(contexts.streams[id].RequestBody(int(size), end != 0))
}

//go:wasmexport proxy_on_request_trailers
func requestTrailers(id, _ uint32) uint32 {
	return uint32(contexts.streams[id].RequestTrailers())
}

//go:wasmexport proxy_on_response_headers
func responseHeaders(id, _, end uint32) uint32 {
	return uint32(contexts.streams[id].ResponseHeaders(end != 0))
}

//go:wasmexport proxy_on_response_body
func responseBody(id, size, end uint32) uint32 {
	return uint32(contexts.streams[id].ResponseBody(int(size), end != 0))
}

//go:wasmexport proxy_on_response_trailers
func responseTrailers(id, _ uint32) uint32 {
	return uint32(contexts.streams[id].ResponseTrailers())
}

//go:wasmexport proxy_on_done
func done(id uint32) uint32 {
	if s := contexts.streams[id]; s != nil {
		s.Done()
	}
	return 1
}

//go:wasmexport proxy_on_delete
func deleteContext(id uint32) {
	delete(contexts.streams, id)
	delete(contexts.plugins, id)
}
