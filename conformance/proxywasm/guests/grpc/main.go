//go:build wasip1

// Command grpc is a plugin that makes the gRPC call that a request's fields
// describe, and answers with what came. The public Go SDK has no gRPC calls: the
// host's functions are imported here.
package main

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

//go:wasmimport env proxy_grpc_call
func grpcCall(service, serviceSize, name, nameSize, method, methodSize, metadata, metadataSize, message, messageSize, timeout, number uint32) uint32

//go:wasmimport env proxy_grpc_stream
func grpcStream(service, serviceSize, name, nameSize, method, methodSize, metadata, metadataSize, number uint32) uint32

//go:wasmimport env proxy_grpc_send
func grpcSend(number, message, messageSize, end uint32) uint32

//go:wasmimport env proxy_grpc_cancel
func grpcCancel(number uint32) uint32

//go:wasmimport env proxy_get_buffer_bytes
func getBufferBytes(kind, start, size, at, atSize uint32) uint32

//go:wasmimport env proxy_get_header_map_value
func getHeaderMapValue(kind, name, nameSize, at, atSize uint32) uint32

//go:wasmimport env proxy_get_status
func getStatus(code, at, atSize uint32) uint32

//go:wasmimport env proxy_set_effective_context
func setEffectiveContext(id uint32) uint32

// The host's numbers.
const (
	received = 5 // a buffer
	initial  = 4 // maps
	trailing = 5
)

func main() {}

func init() { proxywasm.SetVMContext(&vm{}) }

type vm struct{ types.DefaultVMContext }

func (*vm) NewPluginContext(uint32) types.PluginContext { return &plugin{} }

type plugin struct{ types.DefaultPluginContext }

func (*plugin) NewHttpContext(id uint32) types.HttpContext { return &stream{id: id} }

type stream struct {
	types.DefaultHttpContext
	id     uint32
	cancel bool // with the first message
	fields [][2]string
	body   []string
}

// calls under way.
var calls = map[uint32]*stream{}

// result is where the host writes a number, or an address and a size.
var result [3]uint32

func at(i int) uint32 { return uint32(uintptr(unsafe.Pointer(&result[i]))) }

func of[T string | []byte](s T) (address, size uint32) {
	b := []byte(s)
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b)))), uint32(len(b))
}

// text is what result[1] and result[2] tell of.
func text() string {
	if result[2] == 0 {
		return ""
	}
	return strings.Clone(unsafe.String((*byte)(unsafe.Pointer(uintptr(result[1]))), result[2]))
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	get := func(name string) string {
		value, _ := proxywasm.GetHttpRequestHeader(name)
		return value
	}
	var messages [][]byte
	for _, one := range strings.Split(get("x-messages"), ",") {
		b, err := hex.DecodeString(one)
		if err != nil {
			panic(err)
		}
		messages = append(messages, b)
	}
	metadata := pairs("x-grpc-test-echo-initial", "hello", "x-grpc-test-echo-trailing-bin", "q6ur")
	service, serviceSize := of(get("x-upstream"))
	name, nameSize := of("grpc.testing.TestService")
	method, methodSize := of(get("x-method"))
	list, listSize := of(metadata)
	status := uint32(0)
	if s.cancel = get("x-cancel") != ""; get("x-kind") == "unary" {
		timeout, _ := strconv.Atoi(get("x-timeout"))
		message, messageSize := of(messages[0])
		status = grpcCall(service, serviceSize, name, nameSize, method, methodSize, list, listSize, message, messageSize, uint32(timeout), at(0))
	} else {
		status = grpcStream(service, serviceSize, name, nameSize, method, methodSize, list, listSize, at(0))
	}
	number := result[0]
	if status != 0 {
		s.answer(fmt.Sprint("refused ", status))
		return types.ActionPause
	}
	calls[number] = s
	if get("x-kind") != "unary" {
		for i, m := range messages {
			end := uint32(0)
			if i == len(messages)-1 && !s.cancel {
				end = 1
			}
			message, size := of(m)
			if status := grpcSend(number, message, size, end); status != 0 {
				s.answer(fmt.Sprint("send: ", status))
			}
		}
	}
	return types.ActionPause
}

// answer ends the exchange that the call is for.
func (s *stream) answer(outcome string) {
	fields := append(s.fields, [2]string{"x-outcome", outcome})
	if err := proxywasm.SendHttpResponse(200, fields, []byte(strings.Join(s.body, ",")), -1); err != nil {
		proxywasm.LogErrorf("answer: %v", err)
	}
}

// pairs writes a map as the host reads it: how many, the sizes, the texts.
func pairs(list ...string) []byte {
	b := number(nil, len(list)/2)
	for _, s := range list {
		b = number(b, len(s))
	}
	for _, s := range list {
		b = append(append(b, s...), 0)
	}
	return b
}

func number(b []byte, n int) []byte {
	return append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
}

func (s *stream) note(kind uint32, name string) {
	key, size := of(name)
	if getHeaderMapValue(kind, key, size, at(1), at(2)) == 0 {
		s.fields = append(s.fields, [2]string{"x-" + name, text()})
	}
}

//go:wasmexport proxy_on_grpc_receive_initial_metadata
func onInitial(_, number, _ uint32) { calls[number].note(initial, "x-grpc-test-echo-initial") }

//go:wasmexport proxy_on_grpc_receive
func onMessage(_, number, size uint32) {
	s := calls[number]
	if status := getBufferBytes(received, 0, size, at(1), at(2)); status != 0 {
		panic(status)
	}
	s.body = append(s.body, hex.EncodeToString([]byte(text())))
	if s.cancel {
		delete(calls, number)
		status := grpcCancel(number)
		setEffectiveContext(s.id)
		s.answer(fmt.Sprint("cancelled ", status))
	}
}

//go:wasmexport proxy_on_grpc_receive_trailing_metadata
func onTrailing(_, number, _ uint32) { calls[number].note(trailing, "x-grpc-test-echo-trailing-bin") }

//go:wasmexport proxy_on_grpc_close
func onClose(_, number, code uint32) {
	s := calls[number]
	delete(calls, number)
	getStatus(at(0), at(1), at(2))
	outcome := strings.TrimSpace(fmt.Sprint("closed ", code, " ", result[0], " ", text())) // a field's value ends with no space
	setEffectiveContext(s.id)
	s.answer(outcome)
}
