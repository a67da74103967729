package sandbox

import (
	"sync/atomic"

	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// allocator gives guests memory outside of the Go heap, so that the garbage
// collector neither scans nor doubles it. All of a guest's limit is reserved;
// a page becomes resident when it is touched.
type allocator struct {
	limit  uint64        // bytes
	used   *atomic.Int64 // bytes of the pool's live memories
	tenant *Tenant
	// reserved is what was taken from the tenant for the memory's first size.
	reserved *uint64
	starved  *atomic.Bool // set when the tenant refuses a growth
}

// Allocate implements experimental.MemoryAllocator.
func (a allocator) Allocate(_, most uint64) experimental.LinearMemory {
	m := &memory{used: a.used, tenant: a.tenant, taken: *a.reserved, starved: a.starved}
	*a.reserved = 0
	size := min(most, a.limit)
	if size == 0 {
		return m
	}
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err == nil {
		m.mapped = b
	}
	return m
}

// memory is one guest's linear memory.
type memory struct {
	mapped []byte
	size   uint64
	used   *atomic.Int64
	tenant *Tenant
	taken  uint64 // of the tenant's memory

	starved *atomic.Bool
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
	m.used.Add(int64(size) - int64(m.size))
	m.size = size
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
	m.used.Add(-int64(m.size))
	m.mapped, m.size = nil, 0
}
