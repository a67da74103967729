package proxywasm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/filter"
	"penstock.dev/penstock/hosts/capability/crypto"
)

// Bounds on foreign functions' arguments and results, in bytes.
const (
	maxForeign   = 64 << 10
	maxDeflated  = 16 << 20
	maxDeclared  = 256
	maxPropBytes = 4 << 10
)

// What dear functions cost a guest, in steps.
const (
	stepsOfVerify        = 500_000
	stepsOfSign          = 8_000_000
	stepsPerDeflatedByte = 50
	stepsPerInflatedByte = 10
)

// foreignFunc is a function that is not part of the ABI.
type foreignFunc func(v *vm, args []byte) (result []byte, status uint32)

// foreignFuncs are those that this host has: Envoy's, Higress', our own.
func foreignFuncs() map[string]foreignFunc {
	plain := func(do func(v *vm, args []byte) uint32) foreignFunc {
		return func(v *vm, args []byte) ([]byte, uint32) { return nil, do(v, args) }
	}
	nothing := plain(func(*vm, []byte) uint32 { return statusOK })
	funcs := map[string]foreignFunc{
		"penstock.set_consumer":         plain(setConsumer),
		"penstock.set_callbacks":        plain(setCallbacks),
		"penstock.set_response_headers": plain(setResponseHeaders),
		"get_log_level": func(v *vm, _ []byte) ([]byte, uint32) {
			return binary.LittleEndian.AppendUint32(nil, v.r.f.log.level()), statusOK
		},
		"compress": func(v *vm, args []byte) ([]byte, uint32) {
			v.i.Spend(stepsPerDeflatedByte * int64(len(args)))
			return resultOr(statusSerialization)(crypto.Deflate(args))
		},
		"uncompress": func(v *vm, args []byte) ([]byte, uint32) {
			v.i.Spend(stepsPerInflatedByte * int64(len(args))) // it may hold much that inflates to nothing
			out, err := crypto.Inflate(args, maxDeflated)
			v.i.Spend(stepsPerInflatedByte * int64(len(out)))
			return resultOr(statusSerialization)(out, err)
		},
		"verify_signature": func(v *vm, args []byte) ([]byte, uint32) {
			v.i.Spend(stepsOfVerify + int64(len(args)))
			return message(crypto.Verify(args))
		},
		"sign": func(v *vm, args []byte) ([]byte, uint32) {
			v.i.Spend(stepsOfSign + int64(len(args)))
			return message(crypto.Sign(args))
		},
		"resolve_lua":                                   resolveName,
		"expr_create":                                   createExpression,
		"expr_evaluate":                                 evaluateExpression,
		"expr_delete":                                   plain(deleteExpression),
		"clear_route_cache":                             plain(func(v *vm, _ []byte) uint32 { return v.clearRoute() }),
		"set_global_max_requests_per_io_cycle":          nothing,
		"set_envoy_filter_state":                        plain(setFilterState),
		"declare_property":                              plain(declareProperty),
		"inject_encoded_data_to_filter_chain":           plain(injectMessage),
		"inject_encoded_data_to_filter_chain_on_header": plain(injectMessage),
	}
	for _, more := range []map[string]foreignFunc{cacheFunctions(), rateFunctions(), kvFunctions(), cryptoFunctions(), consumerFunctions(), compressFunctions()} {
		maps.Copy(funcs, more)
	}
	return funcs
}

func resultOr(status uint32) func([]byte, error) ([]byte, uint32) {
	return func(result []byte, err error) ([]byte, uint32) {
		if err != nil {
			return nil, status
		}
		return result, statusOK
	}
}

func message(result []byte, ok bool) ([]byte, uint32) {
	if !ok {
		return nil, statusBadArgument
	}
	return result, statusOK
}

// callForeign calls a function by its name: name, arguments, each with its size,
// then where the result goes.
func callForeign(v *vm, p []uint64) uint32 {
	name, ok := v.read(p[0], p[1])
	args, ok2 := v.read(p[2], p[3])
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	do := v.r.f.abi.foreigns[string(name)]
	if do == nil {
		return statusNotFound
	}
	if len(args) > maxDeflated {
		return statusBadArgument
	}
	result, status := do(v, args)
	if status != statusOK || u(p[4]) == 0 || u(p[5]) == 0 { // the caller does not want a result
		return status
	}
	return v.give(result, p[4], p[5])
}

// clearRoute is proxy_clear_route_cache: in the Gateway's part of a chain the
// route is matched afterwards anyway, in other parts it is fixed (annotations.md, section 2).
func (v *vm) clearRoute() uint32 { return statusOK }

// setFilterState is Envoy's set_envoy_filter_state: {path = 1, value = 2, span = 3}.
func setFilterState(v *vm, args []byte) uint32 {
	if len(args) > maxForeign {
		return statusBadArgument
	}
	fields, ok := stringFields(args)
	s := v.reach(wayNone)
	switch {
	case !ok || len(fields[1]) == 0 || len(fields[1]) > maxPath:
		return statusBadArgument
	case s == nil || s.x == nil:
		return statusNotFound
	}
	return s.keep(string(fields[1]), fields[2])
}

// declareProperty is Envoy's declare_property: {name = 1, ...}. What a plugin
// keeps with set_property is bytes here, whatever type it declares.
func declareProperty(v *vm, args []byte) uint32 {
	f := v.r.f
	fields, ok := stringFields(args)
	if !ok || len(args) > maxPropBytes || len(fields[1]) == 0 {
		return statusBadArgument
	}
	f.declared.Lock()
	defer f.declared.Unlock()
	name := string(fields[1])
	if f.declared.names[name] || len(f.declared.names) >= maxDeclared {
		return statusBadArgument
	}
	if f.declared.names == nil {
		f.declared.names = map[string]bool{}
	}
	f.declared.names[name] = true
	return statusOK
}

// stringFields returns the last value of each length-delimited field of a
// protobuf message, by number; ok is false if it is malformed.
func stringFields(b []byte) (fields map[protowire.Number][]byte, ok bool) {
	fields = map[protowire.Number][]byte{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, false
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return nil, false
		}
		if kind == protowire.BytesType {
			fields[number], _ = protowire.ConsumeBytes(b)
		}
		b = b[n:]
	}
	return fields, true
}

// inject hands bytes on to the client while the response is held back (Higress).
func (v *vm) inject(data []byte, end bool) uint32 {
	s := v.reach(wayResponse)
	if s == nil || s.x == nil {
		return statusBadArgument
	}
	w := &s.ways[wayResponse]
	if w.buffer == nil || w.stage != stageBody || w.buffer.Ended {
		return statusBadArgument
	}
	if int64(len(w.buffer.Through)+len(data)) > v.r.f.config.Limits.BodyBytes {
		return statusInternal
	}
	w.buffer.Through = append(w.buffer.Through, data...)
	w.buffer.Ended = end
	return statusOK
}

// injectMessage is inject as a foreign function: {body = 1, endstream = 2}.
func injectMessage(v *vm, args []byte) uint32 {
	fields, ok := stringFields(args)
	if !ok {
		return statusBadArgument
	}
	return v.inject(fields[1], boolField(args, 2))
}

func boolField(b []byte, want protowire.Number) (set bool) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		if number == want && kind == protowire.VarintType {
			value, _ := protowire.ConsumeVarint(b)
			set = value != 0
		}
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return false
		}
		b = b[n:]
	}
	return set
}

// Bits of penstock.set_callbacks beside filter.Callbacks: for proxy_on_done and
// proxy_on_log; for headers that are held back, on PAUSE, while callbacks of the body
// are made, as headerStop: headers does, which an entry can say otherwise; and for
// penstock.set_response_headers, which no callback follows.
const (
	callbackDone   = 1 << 6
	callbackHold   = 1 << 7
	callbackFields = 1 << 8
)

// setCallbacks takes the callbacks that a plugin has use for with its
// configuration, 32 bits little endian: the others are not made, so that a body
// nobody looks at is not held up. Only while the plugin starts; it can take
// callbacks away, never add one of the guest's.
func setCallbacks(v *vm, args []byte) uint32 {
	f := v.r.f
	if !v.r.starting || len(args) != 4 {
		return statusBadArgument
	}
	if !f.started {
		wanted := binary.LittleEndian.Uint32(args)
		f.callbacks &= filter.Callbacks(wanted) | filter.OnConnection
		if wanted&callbackFields != 0 {
			f.fieldsOnly = f.callbacks&filter.OnResponseHeaders == 0
			f.callbacks |= filter.OnResponseHeaders
		}
		f.quiet = wanted&callbackDone == 0
		if wanted&callbackHold != 0 && f.headerStop == config.HeaderStopDefault {
			f.headerStop = config.HeaderStopHeaders
		}
	}
	return statusOK
}

// setConsumer says who sent the request: JSON {name, groups}. It is the whole
// exchange's.
func setConsumer(v *vm, args []byte) uint32 {
	f := v.r.f
	if !f.granted("consumer") {
		return statusInternal
	}
	s := v.reach(wayRequest)
	if s == nil || s.x == nil || !s.open(wayNone) || s.ways[wayResponse].stage != stageNone {
		return statusBadArgument
	}
	c, known := v.consumers[string(args)]
	if !known {
		var ok bool
		if c, ok = parseConsumer(args); !ok {
			return statusBadArgument
		}
		if len(v.consumers) >= maxConsumers {
			clear(v.consumers)
		}
		v.consumers[string(args)] = c
	}
	s.x.Consumer = c
	return statusOK
}

// maxConsumers bounds the consumers whose JSON an instance remembers.
const maxConsumers = 1024

func parseConsumer(args []byte) (exchange.Consumer, bool) {
	var c struct {
		Name   string   `json:"name"`
		Groups []string `json:"groups"`
	}
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields()
	if len(args) > maxForeign || d.Decode(&c) != nil {
		return exchange.Consumer{}, false
	}
	if _, err := d.Token(); err != io.EOF {
		return exchange.Consumer{}, false
	}
	if !isPrintable(c.Name) || len(c.Groups) > 64 || slices.ContainsFunc(c.Groups, func(g string) bool { return !isPrintable(g) }) {
		return exchange.Consumer{}, false
	}
	return exchange.Consumer{Name: c.Name, Groups: c.Groups}, true
}
