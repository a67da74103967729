//go:build wasip1

// Command command is a plugin that sends the Redis command of a request's field
// X-Redis, whose words are separated by "|", and answers with the reply. It
// speaks the ABI by itself: the public SDK knows no Redis.
package main

import (
	"strconv"
	"strings"
	"unsafe"
)

func main() {}

//go:wasmimport env proxy_redis_init
func redisInit(service, serviceSize, user, userSize, password, passwordSize, timeout uint32) uint32

//go:wasmimport env proxy_redis_call
func redisCall(service, serviceSize, query, querySize, id uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func getHeader(kind, name, nameSize, value, size uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func getBuffer(kind, start, most, data, size uint32) uint32

//go:wasmimport env proxy_set_effective_context
func setContext(id uint32) uint32

//go:wasmimport env proxy_send_local_response
func respond(status, details, detailsSize, body, bodySize, headers, headersSize, grpc uint32) uint32

//go:wasmexport proxy_abi_version_0_2_100
func version() {}

var memory [][]byte

//go:wasmexport proxy_on_memory_allocate
func allocate(size uint32) uint32 {
	b := make([]byte, size)
	if memory = append(memory, b); len(memory) > 64 {
		memory = memory[1:]
	}
	return at(b)
}

func at(b []byte) uint32 {
	if len(b) == 0 {
		return 0
	}
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}

// result is where the host writes an address and a size.
type result [2]uint32

func (r *result) at(i int) uint32 { return uint32(uintptr(unsafe.Pointer(&r[i]))) }

func (r *result) text() string {
	return strings.Clone(unsafe.String((*byte)(unsafe.Pointer(uintptr(r[0]))), r[1]))
}

var (
	service = []byte("outbound|6379||anything.static")
	started uint32                // what proxy_redis_init answered
	waiting = map[uint32]uint32{} // call -> stream
)

//go:wasmexport proxy_on_configure
func onConfigure(_, _ uint32) uint32 {
	user := []byte("nobody")
	started = redisInit(at(service), uint32(len(service)), at(user), uint32(len(user)), at(user), uint32(len(user)), 2000)
	return 1
}

func answer(text string) {
	body := []byte(text)
	respond(200, 0, 0, at(body), uint32(len(body)), 0, 0, 0xffffffff)
}

//go:wasmexport proxy_on_request_headers
func onRequestHeaders(id, _, _ uint32) uint32 {
	var r result
	name := []byte("x-redis")
	if getHeader(0, at(name), uint32(len(name)), r.at(0), r.at(1)) != 0 {
		return 0
	}
	words := strings.Split(r.text(), "|")
	query := []byte("*" + strconv.Itoa(len(words)) + "\r\n")
	for _, w := range words {
		query = append(query, "$"+strconv.Itoa(len(w))+"\r\n"+w+"\r\n"...)
	}
	var call result
	if status := redisCall(at(service), uint32(len(service)), at(query), uint32(len(query)), call.at(0)); status != 0 {
		answer("refused " + strconv.Itoa(int(status)) + " init " + strconv.Itoa(int(started)))
		return 3
	}
	waiting[call[0]] = id
	return 3
}

//go:wasmexport proxy_on_redis_call_response
func onReply(_, call, status, size uint32) {
	text := "failed " + strconv.Itoa(int(status))
	if status == 0 {
		var r result
		if got := getBuffer(9, 0, size, r.at(0), r.at(1)); got != 0 {
			text = "no buffer"
		} else {
			text = r.text()
		}
	}
	setContext(waiting[call])
	delete(waiting, call)
	answer(text)
}
