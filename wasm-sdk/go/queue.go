//go:build wasip1

package sdk

import "unsafe"

//go:wasmimport env proxy_register_shared_queue
func proxyRegisterQueue(name unsafe.Pointer, n uint32, id unsafe.Pointer) uint32

//go:wasmimport env proxy_resolve_shared_queue
func proxyResolveQueue(vm unsafe.Pointer, n uint32, name unsafe.Pointer, m uint32, id unsafe.Pointer) uint32

//go:wasmimport env proxy_enqueue_shared_queue
func proxyEnqueue(id uint32, p unsafe.Pointer, n uint32) uint32

//go:wasmimport env proxy_dequeue_shared_queue
func proxyDequeue(id uint32, p, size unsafe.Pointer) uint32

// RegisterQueue returns the shared queue of that name, which it makes if there is none
// (proxy_register_shared_queue). The Plugin that registered it last has its QueueReady
// called.
func RegisterQueue(name string) (Queue, error) {
	ret.number = 0
	status := proxyRegisterQueue(str(name), uint32(len(name)), unsafe.Pointer(&ret.number))
	return Queue(ret.number), failure(status)
}

// ResolveQueue returns a shared queue that another plugin registered, with that vmId, ""
// for the plugin's own (proxy_resolve_shared_queue); ErrNotFound: there is none.
func ResolveQueue(vmID, name string) (Queue, error) {
	ret.number = 0
	status := proxyResolveQueue(str(vmID), uint32(len(vmID)), str(name), uint32(len(name)), unsafe.Pointer(&ret.number))
	return Queue(ret.number), failure(status)
}

// Enqueue puts a value at the end (proxy_enqueue_shared_queue); ErrInternal: it is full.
func (q Queue) Enqueue(value []byte) error {
	return failure(proxyEnqueue(uint32(q), raw(value), uint32(len(value))))
}

// Dequeue takes the oldest value (proxy_dequeue_shared_queue); ErrEmpty: there is none. It
// is valid until the next call of a function of this package.
func (q Queue) Dequeue() (value []byte, err error) {
	if status := proxyDequeue(uint32(q), unsafe.Pointer(&ret.p), unsafe.Pointer(&ret.n)); status != 0 {
		return nil, failure(status)
	}
	return result(), nil
}

//go:wasmexport proxy_on_queue_ready
func queueReady(root, queue uint32) {
	effective = root
	if r, ok := contexts.plugins[root].(QueueReader); ok {
		r.QueueReady(Queue(queue))
	}
}
