//go:build wasip1

// Command grpc is a plugin that makes the gRPC call that a request's fields
// describe, and answers with what came: as ../../grpc, with the functions of the SDK.
package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

func main() {}

func init() { sdk.Register(func() sdk.Plugin { return plugin{} }) }

type plugin struct{}

// Configure implements sdk.Plugin.
func (plugin) Configure([]byte) error { return nil }

// NewStream implements sdk.Plugin.
func (plugin) NewStream() sdk.Stream { return &stream{} }

type stream struct {
	sdk.Base
	fields [][2]string
	body   []string
	call   sdk.GRPC
}

// RequestHeaders implements sdk.Stream.
func (s *stream) RequestHeaders(bool) sdk.Action {
	get := func(name string) string {
		value, _ := sdk.RequestHeader.Get(name)
		return value
	}
	var messages [][]byte
	for _, one := range strings.Split(get("x-messages"), ",") {
		b, err := hex.DecodeString(one)
		must(err)
		messages = append(messages, b)
	}
	const service = "grpc.testing.TestService"
	metadata := [][2]string{{"x-grpc-test-echo-initial", "hello"}, {"x-grpc-test-echo-trailing-bin", "q6ur"}}
	var err error
	if get("x-kind") == "unary" {
		ms, _ := strconv.Atoi(get("x-timeout"))
		s.call, err = sdk.GRPCCall(get("x-upstream"), service, get("x-method"), metadata, messages[0], time.Duration(ms)*time.Millisecond, s.answered)
		if err == nil && !errors.Is(s.call.Send(nil, true), sdk.ErrBadArgument) {
			panic("a unary call has sent two messages")
		}
	} else {
		s.call, err = s.open(get("x-upstream"), service, get("x-method"), metadata, get("x-cancel"), messages)
	}
	var status sdk.Status
	if errors.As(err, &status) {
		s.answer(fmt.Sprint("refused ", uint32(status)))
	}
	if get("x-cancel") == "leave" { // and what was opened with it
		return sdk.Continue
	}
	return sdk.Pause
}

func (s *stream) answered(r sdk.GRPCResponse) {
	for _, h := range append(r.InitialMetadata, r.TrailingMetadata...) {
		if strings.HasPrefix(h[0], "x-") {
			s.fields = append(s.fields, [2]string{"x-" + h[0], h[1]})
		}
	}
	if r.Message != nil {
		s.body = append(s.body, hex.EncodeToString(r.Message))
	}
	s.closed(r.Status)
}

func (s *stream) open(upstream, service, method string, metadata [][2]string, cancel string, messages [][]byte) (sdk.GRPC, error) {
	call, err := sdk.GRPCStream(upstream, service, method, metadata, sdk.GRPCHandler{
		InitialMetadata:  func(h sdk.Header) { s.note(h, "x-grpc-test-echo-initial") },
		TrailingMetadata: func(h sdk.Header) { s.note(h, "x-grpc-test-echo-trailing-bin") },
		Message: func(b []byte) {
			s.body = append(s.body, hex.EncodeToString(b))
			if cancel == "yes" {
				must(s.call.Cancel())
				if !errors.Is(s.call.Send(nil, false), sdk.ErrNotFound) {
					panic("it is not cancelled")
				}
				s.answer("cancelled 0")
			}
		},
		Close: s.closed,
	})
	if err != nil {
		return call, err
	}
	for _, m := range messages {
		must(call.Send(m, false))
	}
	if cancel == "" {
		must(call.End())
	}
	return call, nil
}

func (s *stream) note(h sdk.Header, name string) {
	if value, ok := h.Get(name); ok {
		s.fields = append(s.fields, [2]string{"x-" + name, value})
	}
}

func (s *stream) closed(status sdk.GRPCStatus) {
	s.answer(strings.TrimSpace(fmt.Sprint("closed ", status.Code, " ", status.Code, " ", status.Message)))
}

// answer ends the exchange that the call is for.
func (s *stream) answer(outcome string) {
	must(sdk.Respond(200, append(s.fields, [2]string{"x-outcome", outcome}), strings.Join(s.body, ","), ""))
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
