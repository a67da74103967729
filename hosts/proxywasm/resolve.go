package proxywasm

import (
	"net/netip"

	"penstock.dev/penstock/hosts/capability"
)

const maxHostname = 253

// resolveName is Kong's resolve_lua: the bytes of an address now, which only an
// address itself gets, or nothing now and proxy_on_foreign_function later. Names
// are looked up that the plugin may call outside of its namespace.
func resolveName(v *vm, args []byte) ([]byte, uint32) {
	f := v.r.f
	if !f.allowed(capability.HTTPCalls) {
		return nil, statusInternal
	}
	if len(args) == 0 || len(args) > maxHostname {
		return nil, statusBadArgument
	}
	name := string(args)
	if a, err := netip.ParseAddr(name); err == nil && a.Zone() == "" {
		return a.Unmap().AsSlice(), statusOK
	}
	if f.abi.o.Names == nil {
		return nil, statusNotFound
	}
	if v.r.calls >= maxCalls {
		return nil, statusInternal
	}
	c := v.opened()
	cancel, err := f.abi.o.Names.Resolve(f.config, name, func(a netip.Addr, err error) {
		v.happened(c, "proxy_on_foreign_function", true, func(v *vm) error { return v.resolved(name, a, err) })
	})
	if err != nil {
		v.forget(c)
		f.log.refusedCall(name, err)
		if status := callStatus(err); status != statusBadArgument {
			return nil, status
		}
		return nil, statusNotFound
	}
	c.cancel = cancel
	return nil, statusOK
}

// resolved calls proxy_on_foreign_function as Kong does: the length of the
// address (0: there is none), the address, the name.
func (v *vm) resolved(name string, a netip.Addr, failure error) error {
	message := []byte{0}
	if failure == nil {
		address := a.AsSlice()
		message = append([]byte{byte(len(address))}, address...)
	}
	v.arrived.foreign = append(message, name...)
	return v.callRoot(v.fn.foreign, foreignResolve, uint64(len(v.arrived.foreign)))
}

// foreignResolve is the number that Kong gives resolve_lua.
const foreignResolve = 0
