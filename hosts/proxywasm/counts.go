package proxywasm

import "penstock.dev/penstock/core/sandbox"

// Counts returns what f's calls have taken, and the instances that it runs on.
func (f *Filter) Counts() sandbox.Counts {
	c, n := f.usage.Counts(), f.on.Load()
	n.pool.Count(&c, n.key != "")
	return c
}
