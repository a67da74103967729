package cases

import (
	"errors"
	"fmt"
	"slices"
)

// Call is one that the plugin makes.
type Call struct {
	To      string   `yaml:"to"` // the upstream, as the plugin names it; empty: any
	Request *Message `yaml:"request"`
	// GRPC, Redis and Rate are the call, if it is one of gRPC, a command to Redis, or a
	// question to a limit that all proxies share, in place of Request and Response.
	GRPC  *GRPC  `yaml:"grpc"`
	Redis *Redis `yaml:"redis"`
	Rate  *Rate  `yaml:"rate"`
	// After is how long the answer takes.
	After    Duration `yaml:"after"`
	Response *Message `yaml:"response"`
	// Fails is why there is none: "timeout", "refused", or "reset".
	Fails string `yaml:"fails"`
}

// The kinds of calls, as messages name them.
const (
	callHTTP  = "HTTP"
	callGRPC  = "gRPC"
	callRedis = "Redis"
	callRate  = "a shared rate limit"
)

// kind says what the call is.
func (k *Call) kind() string {
	switch {
	case k.GRPC != nil:
		return callGRPC
	case k.Redis != nil:
		return callRedis
	case k.Rate != nil:
		return callRate
	}
	return callHTTP
}

// GRPC is a unary call that the plugin makes, and its answer.
type GRPC struct {
	Service  string `yaml:"service"`
	Method   string `yaml:"method"`
	Metadata Fields `yaml:"metadata"`
	// Message is what is sent, nil: any; Contains are parts of it.
	Message  *string  `yaml:"message"`
	Contains []string `yaml:"contains"`
	// Answer; nil: Call.Fails says why there is none.
	Answer *GRPCAnswer `yaml:"answer"`
}

// GRPCAnswer is how a call ends.
type GRPCAnswer struct {
	Code     uint32  `yaml:"code"` // 0: OK
	Text     string  `yaml:"text"` // for people
	Message  *string `yaml:"message"`
	Metadata Fields  `yaml:"metadata"` // before the message
	Trailers Fields  `yaml:"trailers"`
}

// maxCode is the last status of gRPC.
const maxCode = 16

// checkCalls finds what calls cannot mean.
func checkCalls(calls []Call) error {
	for i := range calls {
		if err := calls[i].check(fmt.Sprintf("calls[%d]", i)); err != nil {
			return err
		}
	}
	return nil
}

func (k *Call) check(what string) error {
	if !slices.Contains([]string{"", "timeout", "refused", "reset"}, k.Fails) {
		return fmt.Errorf("%s.fails: %q: want timeout, refused or reset", what, k.Fails)
	}
	var kinds []string
	answered := k.Response != nil
	if k.GRPC != nil {
		kinds, answered = append(kinds, "grpc"), k.GRPC.Answer != nil
	}
	if k.Redis != nil {
		kinds, answered = append(kinds, "redis"), k.Redis.Answer.Kind != 0
	}
	if k.Rate != nil {
		kinds, answered = append(kinds, "rate"), k.Rate.Answer != nil
	}
	switch {
	case len(kinds) > 1:
		return fmt.Errorf("%s: want one of %s and %s", what, kinds[0], kinds[1])
	case len(kinds) == 1 && (k.Request != nil || k.Response != nil):
		return fmt.Errorf("%s.%s: request and response are those of an HTTP call", what, kinds[0])
	case len(kinds) == 1 && (k.Fails == "") != answered:
		return fmt.Errorf("%s.%s: want either answer or fails", what, kinds[0])
	case (k.Fails == "") != answered:
		return fmt.Errorf("%s: want either response or fails", what)
	case k.To != "" && (k.Redis != nil || k.Rate != nil):
		return fmt.Errorf("%s.to: a plugin does not choose its Redis", what)
	}
	return errors.Join(k.GRPC.check(what+".grpc"), k.Redis.check(what+".redis"), k.Rate.check(what+".rate"),
		k.Request.check(what+".request"), k.Response.check(what+".response"), k.Response.made(what+".response"))
}

// check finds what a gRPC call cannot mean.
func (g *GRPC) check(what string) error {
	if g != nil && g.Answer != nil && g.Answer.Code > maxCode {
		return fmt.Errorf("%s.answer.code: %d: want 0 to %d", what, g.Answer.Code, maxCode)
	}
	return nil
}
