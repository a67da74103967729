package httpwasm

import "penstock.dev/penstock/core/sandbox"

// Counts returns what f's calls have taken, and the instances that it runs on.
func (f *Filter) Counts() sandbox.Counts {
	c := f.pool.Usage().Counts()
	f.pool.Count(&c, false)
	return c
}
