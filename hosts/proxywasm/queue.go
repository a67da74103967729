package proxywasm

import (
	"bytes"
	"slices"
	"sync"
)

// Bounds on the shared queues of one store.
const (
	maxQueues     = 256
	maxQueueItems = 16 << 10
	maxQueueBytes = 16 << 20
)

// queue is a shared queue. Its members are guarded by queues.mu.
type queue struct {
	id    uint32
	name  string
	items [][]byte
	// roots registered it; the last one that still lives is notified.
	roots []*root
}

// queues are the shared queues of one store.
type queues struct {
	mu     sync.Mutex
	byName map[string]*queue
	byID   map[uint32]*queue
	last   uint32
	bytes  int
}

// register returns the number of the queue of that name, made if there is
// none, and makes r the one that is notified.
func (q *queues) register(name string, r *root) (uint32, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := q.byName[name]
	if one == nil {
		if len(q.byName) >= maxQueues {
			return 0, false
		}
		if q.byName == nil {
			q.byName, q.byID = map[string]*queue{}, map[uint32]*queue{}
		}
		q.last++
		one = &queue{id: q.last, name: name}
		q.byName[name], q.byID[one.id] = one, one
	}
	one.roots = append(slices.DeleteFunc(one.roots, func(o *root) bool { return o == r }), r)
	return one.id, true
}

func (q *queues) resolve(name string) (uint32, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := q.byName[name]
	if one == nil {
		return 0, false
	}
	return one.id, true
}

// put appends a value, and returns whom to notify.
func (q *queues) put(id uint32, value []byte) (*root, uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := q.byID[id]
	switch {
	case one == nil:
		return nil, statusNotFound
	case len(one.items) >= maxQueueItems || q.bytes+len(value) > maxQueueBytes:
		return nil, statusInternal
	}
	q.bytes += len(value)
	one.items = append(one.items, bytes.Clone(value))
	if n := len(one.roots); n > 0 {
		return one.roots[n-1], statusOK
	}
	return nil, statusOK
}

// take removes the oldest value.
func (q *queues) take(id uint32) ([]byte, uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	one := q.byID[id]
	switch {
	case one == nil:
		return nil, statusNotFound
	case len(one.items) == 0:
		return nil, statusEmpty
	}
	value := one.items[0]
	one.items[0] = nil
	one.items = one.items[1:]
	q.bytes -= len(value)
	return value, statusOK
}

// leave takes a root context that ends out of all queues; whoever registered
// before it is notified from now on.
func (s *sharedStore) leave(r *root) {
	q := &s.queues
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, one := range q.byID {
		one.roots = slices.DeleteFunc(one.roots, func(o *root) bool { return o == r })
	}
}

func registerQueue(v *vm, p []uint64) uint32 {
	name, ok := v.read(p[0], p[1])
	if !ok {
		return statusInvalidMemory
	}
	if len(name) > maxPath {
		return statusBadArgument
	}
	id, ok := v.r.f.shared.queues.register(string(name), v.r)
	if !ok {
		return statusInternal
	}
	v.r.work()
	if !v.writeU32(p[2], id) {
		return statusInvalidMemory
	}
	return statusOK
}

// resolveQueue finds a queue of this filter's own VM id; any other's is not found.
func resolveQueue(v *vm, p []uint64) uint32 {
	vmID, ok := v.read(p[0], p[1])
	name, ok2 := v.read(p[2], p[3])
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	if len(vmID) > 0 && string(vmID) != v.r.f.config.VMID {
		return statusNotFound
	}
	id, ok := v.r.f.shared.queues.resolve(string(name))
	if !ok {
		return statusNotFound
	}
	if !v.writeU32(p[4], id) {
		return statusInvalidMemory
	}
	return statusOK
}

func enqueue(v *vm, p []uint64) uint32 {
	value, ok := v.read(p[1], p[2])
	if !ok {
		return statusInvalidMemory
	}
	target, status := v.r.f.shared.queues.put(u(p[0]), value)
	if target != nil {
		target.notify(u(p[0]))
	}
	return status
}

func dequeue(v *vm, p []uint64) uint32 {
	value, status := v.r.f.shared.queues.take(u(p[0]))
	if status != statusOK {
		return status
	}
	return v.give(value, p[1], p[2])
}
