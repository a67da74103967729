package proxywasm

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"penstock.dev/penstock/hosts/capability/cel"
)

// Bounds on the expressions that a root context has at one time: compiled, a
// byte of text takes some 200.
const (
	maxExpressions    = 256
	maxExpressionText = 64 << 10 // of all, in bytes
)

// What expressions cost a guest, in steps.
const (
	stepsOfCompile      = 50_000
	stepsPerTextByte    = 4_000
	stepsOfEvaluation   = 5_000
	stepsPerExpressCost = 150
	stepsPerClaimsByte  = 40 // of JSON, read
)

// expressions are a root context's, by their tokens.
type expressions struct {
	last uint32
	text int // bytes of all
	by   map[uint32]*expression
}

type expression struct {
	*cel.Expression
	text int // bytes
}

// createExpression compiles a text: expr_create. Envoy answers BAD_ARGUMENT to
// one that does not compile, and so do we; BAD_EXPRESSION is only in SDKs.
func createExpression(v *vm, args []byte) ([]byte, uint32) {
	f, own := v.r.f, &v.r.expressions
	if len(args) > cel.MaxText {
		return nil, statusBadArgument
	}
	if len(own.by) >= maxExpressions || own.text+len(args) > maxExpressionText {
		return nil, statusInternal
	}
	v.i.Spend(stepsOfCompile + stepsPerTextByte*int64(len(args)))
	engine, err := f.abi.cel()
	if err != nil {
		return nil, statusInternal
	}
	x, err := engine.Compile(string(args))
	if err != nil {
		f.log.refusedText(err)
		return nil, statusBadArgument
	}
	if own.by == nil {
		own.by = map[uint32]*expression{}
	}
	for own.last++; own.last == 0 || own.by[own.last] != nil; own.last++ {
	}
	own.by[own.last] = &expression{x, len(args)}
	own.text += len(args)
	return binary.LittleEndian.AppendUint32(nil, own.last), statusOK
}

// evaluateExpression is expr_evaluate: token -> value.
func evaluateExpression(v *vm, args []byte) ([]byte, uint32) {
	if len(args) != 4 {
		return nil, statusBadArgument
	}
	x := v.r.expressions.by[binary.LittleEndian.Uint32(args)]
	if x == nil {
		return nil, statusNotFound
	}
	v.i.Spend(stepsOfEvaluation)
	a := &attributes{v: v}
	value, cost, err := x.Evaluate(a)
	v.i.Spend(stepsPerExpressCost*int64(cost) + a.steps + int64(a.bytes)/bytesOfAStep)
	switch {
	case errors.Is(err, cel.ErrValue):
		return nil, statusSerialization
	case err != nil:
		return nil, statusInternal
	}
	return value, statusOK
}

// deleteExpression is expr_delete: token -> nothing. As in Envoy an unknown one
// is no error.
func deleteExpression(v *vm, args []byte) uint32 {
	if len(args) != 4 {
		return statusBadArgument
	}
	own, token := &v.r.expressions, binary.LittleEndian.Uint32(args)
	if x := own.by[token]; x != nil {
		own.text -= x.text
		delete(own.by, token)
	}
	return statusOK
}

// attributes are the properties of Proxy-Wasm as values with types.
type attributes struct {
	v *vm
	// Of what was looked up so far; charged afterwards, since cel-go recovers panics.
	bytes  int
	steps  int64
	claims map[string]any // of the exchange; nil: not read yet
}

var _ cel.Attributes = (*attributes)(nil)

// groups are the paths that have attributes below them.
var groups = map[string]bool{
	"request": true, "response": true, "source": true, "destination": true, "connection": true, "upstream": true,
	"node": true, "node.metadata": true, "xds": true, "xds.node": true, "xds.node.metadata": true,
	"metadata": true, "filter_state": true, "consumer": true,
}

// kinds are the types of attributes that are not text.
var kinds = map[string]func(b []byte) any{
	"request.time": timestamp, "request.duration": duration, "response.backend_latency": duration,
	"request.size": integer, "request.total_size": integer, "response.size": integer, "response.total_size": integer,
	"response.code": integer, "response.flags": integer, "response.grpc_status": integer,
	"source.port": integer, "destination.port": integer, "upstream.port": integer, "upstream.local_port": integer,
	"upstream.request_attempt_count": unsigned, "connection.id": unsigned, "connection_id": unsigned, "plugin_vm_memory": unsigned,
	"listener_direction": integer, "connection.mtls": boolean,
	"request.headers": fields, "response.headers": fields, "response.trailers": fields,
	"route_metadata": raw, "cluster_metadata": raw, "listener_metadata": raw, "upstream_host_metadata": raw,
	"node.metadata.PLATFORM_METADATA": raw, "node.metadata.LABELS": raw, "node.metadata.APP_CONTAINERS": raw, "node.metadata.INSTANCE_IPS": raw,
}

// words are the single names that are text; any other one is what a filter of
// the exchange has kept with set_property, and that is bytes.
var words = map[string]bool{
	"plugin_name": true, "plugin_root_id": true, "plugin_vm_id": true, "route_name": true, "cluster_name": true, "x_request_id": true,
}

// Attribute implements cel.Attributes.
func (a *attributes) Attribute(path []string) any {
	v := a.v
	name := strings.Join(path, ".")
	if groups[name] {
		return cel.Group{}
	}
	if path[0] == "claims" || path[0] == "consumer" { // whatever filters have kept by these names
		return a.identity(path)
	}
	v.scratch = v.scratch[:0]
	a.steps += v.lookSteps(path)
	value, ok := v.r.f.property(v, path)
	if !ok {
		return nil
	}
	a.bytes += len(value)
	name = strings.TrimPrefix(name, "xds.")
	if convert := kinds[name]; convert != nil {
		return convert(value)
	}
	if path[0] == "filter_state" || len(path) == 1 && !words[name] {
		return raw(value)
	}
	return string(value)
}

// identity returns what filters with the capability consumer have found out: consumer.name,
// consumer.groups, and the claims of a token, empty if there is none.
func (a *attributes) identity(path []string) any {
	s := a.v.reach(wayNone)
	if s == nil || s.x == nil {
		return nil
	}
	x := s.x
	if path[0] == "consumer" {
		if x.Consumer.Name == "" || len(path) != 2 {
			return nil
		}
		switch path[1] {
		case "name":
			a.bytes += len(x.Consumer.Name)
			return x.Consumer.Name
		case "groups":
			for _, g := range x.Consumer.Groups {
				a.bytes += len(g)
			}
			return append([]string{}, x.Consumer.Groups...)
		}
		return nil
	}
	if a.claims == nil {
		claims := map[string]any{}
		a.steps += stepsPerClaimsByte * int64(len(x.Claims))
		if x.Claims != nil && (json.Unmarshal(x.Claims, &claims) != nil || claims == nil) {
			return nil
		}
		a.claims = claims
	}
	return a.claims
}

func raw(b []byte) any { return bytes.Clone(b) }

func integer(b []byte) any { return int64(fixed64(b)) }

func unsigned(b []byte) any { return fixed64(b) }

func timestamp(b []byte) any { return time.Unix(0, int64(fixed64(b))).UTC() }

func duration(b []byte) any { return time.Duration(fixed64(b)) }

func boolean(b []byte) any { return len(b) > 0 && b[0] != 0 }

// fixed64 reads what appendU64 wrote.
func fixed64(b []byte) uint64 {
	if len(b) != 8 {
		return 0
	}
	return binary.LittleEndian.Uint64(b)
}

// fields reads a map; of a name that is there several times the first value
// counts, as for proxy_get_header_map_value.
func fields(b []byte) any {
	list, err := parsePairs(b)
	if err != nil {
		return map[string]string{}
	}
	m := make(map[string]string, len(list))
	for _, p := range list {
		name := string(bytes.ToLower(p.name))
		if _, twice := m[name]; !twice {
			m[name] = string(p.value)
		}
	}
	return m
}
