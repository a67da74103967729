package proxywasm

import (
	"bytes"
	"encoding/binary"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/hosts/capability"
)

// What looking a consumer up costs a guest, in steps, beside what is copied.
const (
	stepsOfFind      = 1_000
	stepsOfNamespace = 200
)

// Flags of penstock.consumer_find: what was found becomes the exchange's consumer; and it is
// not returned.
const (
	findUses  = 1 << 0
	findQuiet = 1 << 1
)

// consumerFunctions are foreign functions about Consumer objects. Numbers in their
// arguments and results are little endian, texts have their length before them, in 16 bits,
// and lists a byte with the number of their elements.
func consumerFunctions() map[string]foreignFunc {
	of := func(do foreignFunc) foreignFunc {
		return capable(capability.Consumer, func(a *ABI) bool { return a.o.Consumers != nil }, do)
	}
	return map[string]foreignFunc{
		"penstock.consumer_find": of(findConsumer),
		"penstock.consumer_use":  of(useConsumer),
		"penstock.consumer_get":  getConsumer,
		"penstock.set_claims":    capable(capability.Consumer, func(*ABI) bool { return true }, setClaims),
	}
}

// findConsumer looks a Consumer up by a credential: flags (8 bits), the credential's type,
// what it is looked up by, a list of namespaces beside the filter's own. It returns the
// username, a list of groups, and to the end what the request is to be checked by;
// NOT_FOUND if there is none. The stream remembers what its filter found last.
func findConsumer(v *vm, args []byte) ([]byte, uint32) {
	r := reader{rest: args}
	flags, kind, lookup := r.byte(), r.text(1, capability.MaxCredentialType), r.text(1, capability.MaxCredentialLookup)
	namespaces := r.list(capability.MaxConsumerNamespaces, 1, capability.MaxNamespace)
	v.i.Spend(stepsOfFind + stepsOfNamespace*int64(len(namespaces)) + int64(len(lookup)))
	if r.bad || len(r.rest) > 0 || flags&^(findUses|findQuiet) != 0 {
		return nil, statusBadArgument
	}
	s := v.effective
	if flags&findUses != 0 && !v.identifies() {
		return nil, statusBadArgument
	}
	who, data, ok := v.r.f.abi.o.Consumers.FindConsumer(v.r.f.config, kind, lookup, namespaces)
	if s != nil {
		s.found = who
	}
	if !ok {
		return nil, statusNotFound
	}
	if flags&findUses != 0 {
		s.x.Consumer = who
	}
	if flags&findQuiet != 0 {
		return nil, statusOK
	}
	return v.keepObject(append(appendConsumer(v.object[:0], &who), data...)), statusOK
}

// useConsumer makes what the filter found last in the exchange its consumer.
func useConsumer(v *vm, args []byte) ([]byte, uint32) {
	switch {
	case len(args) > 0 || !v.identifies():
		return nil, statusBadArgument
	case v.effective.found.Name == "":
		return nil, statusNotFound
	}
	v.effective.x.Consumer = v.effective.found
	return nil, statusOK
}

// identifies reports whether the guest may say now who sent the request: as long as its
// headers have not gone on, since whoever comes later goes by it.
func (v *vm) identifies() bool {
	s := v.reach(wayRequest)
	return s != nil && s.x != nil && s.open(wayNone) && s.ways[wayRequest].headers && s.ways[wayResponse].stage == stageNone
}

// getConsumer returns who sent the request, as filters before this one have found out:
// the username and a list of groups; NOT_FOUND if nobody has. It needs no capability.
func getConsumer(v *vm, args []byte) ([]byte, uint32) {
	s := v.reach(wayNone)
	switch {
	case len(args) > 0 || s == nil || s.x == nil:
		return nil, statusBadArgument
	case s.x.Consumer.Name == "":
		return nil, statusNotFound
	}
	return v.keepObject(appendConsumer(v.object[:0], &s.x.Consumer)), statusOK
}

// maxClaims bounds what a token says, in bytes.
const maxClaims = 16 << 10

// setClaims keeps what a token says that the filter has checked: a JSON object, for the
// filters that come later. Whether it is one is seen by those who look.
func setClaims(v *vm, args []byte) ([]byte, uint32) {
	if len(args) == 0 || len(args) > maxClaims || !v.identifies() {
		return nil, statusBadArgument
	}
	v.effective.x.Claims = bytes.Clone(args)
	return nil, statusOK
}

// appendConsumer writes a name and a list of groups, both within the bounds of
// parseConsumer or of config.Consumer.
func appendConsumer(dst []byte, c *exchange.Consumer) []byte {
	dst = appendText(dst, c.Name)
	dst = append(dst, byte(len(c.Groups)))
	for _, g := range c.Groups {
		dst = appendText(dst, g)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// keepObject keeps a result's buffer for the next one, unless it is large.
func (v *vm) keepObject(b []byte) []byte {
	if v.object = b; cap(b) > maxKeptObject {
		v.object = nil
	}
	v.i.Spend(int64(len(b)) / bytesOfAStep)
	return b
}
