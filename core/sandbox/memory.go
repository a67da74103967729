package sandbox

import (
	"fmt"
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"

	"penstock.dev/penstock/core/telemetry"
)

// allocator gives an instance memory outside of the Go heap, so that the garbage
// collector neither scans nor doubles it. All of a guest's limit is reserved
// before the instance is made: the engine cannot be told that there is none. A
// page becomes resident when it is touched.
type allocator struct{ m *memory }

// allocate reserves the memory of an instance that starts with least bytes.
// release is to be called once the instance was made, or could not be.
func (p *Pool) allocate(least uint64) (a *allocator, err error) {
	if !p.tenant.take(int64(least)) {
		return nil, p.tenant.memoryError(least)
	}
	m := &memory{used: &p.memory, gauge: p.bytes, tenant: p.tenant, taken: least}
	if size := uint64(p.o.MemoryBytes) &^ 0xffff; size > 0 {
		m.mapped, err = unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
		if err != nil {
			m.Free()
			return nil, fmt.Errorf("%w: %w", ErrMapping, err)
		}
	}
	return &allocator{m}, nil
}

// release frees the memory if no instance has it.
func (a *allocator) release() {
	if a.m != nil {
		a.m.Free()
		a.m = nil
	}
}

// Allocate implements experimental.MemoryAllocator. It is called once at most: a
// module has one memory.
func (a *allocator) Allocate(_, _ uint64) experimental.LinearMemory {
	m := a.m
	a.m = nil
	return m
}

// memory is one guest's linear memory.
type memory struct {
	mapped []byte
	size   uint64
	used   *atomic.Int64
	gauge  telemetry.Gauge
	tenant *Tenant
	taken  uint64 // of the tenant's memory
	// starved says that the tenant has refused a growth.
	starved atomic.Bool
}

// Reallocate implements experimental.LinearMemory; nil means that the guest's
// memory.grow fails.
func (m *memory) Reallocate(size uint64) []byte {
	if size > uint64(len(m.mapped)) {
		return nil
	}
	if size > m.taken {
		if !m.tenant.take(int64(size - m.taken)) {
			m.starved.Store(true)
			return nil
		}
		m.taken = size
	}
	m.resize(size)
	return m.mapped[:size:len(m.mapped)]
}

// Free implements experimental.LinearMemory. Nobody may touch the guest's
// memory afterwards: it is no longer mapped.
func (m *memory) Free() {
	m.tenant.give(int64(m.taken))
	m.taken = 0
	if m.mapped == nil {
		return
	}
	_ = unix.Munmap(m.mapped) // fails only for what was never mapped
	m.mapped = nil
	m.resize(0)
}

// resize counts the memory that the guest has now.
func (m *memory) resize(size uint64) {
	more := int64(size) - int64(m.size)
	m.used.Add(more)
	m.gauge.Add(float64(more))
	m.size = size
}
