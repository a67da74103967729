package main

import (
	"errors"
	"fmt"
	"strings"

	sdk "penstock.dev/penstock/wasm-sdk/go"
)

// config is the plugin's configuration.
type config struct {
	// Header is the field's name.
	Header string `json:"header"`
	// Format is "uuidv7" or "uuidv4".
	Format string `json:"format"`
	// Accept says whose ids are taken over: "trusted", "all" or "none".
	Accept string `json:"accept"`
	// Response says that responses get the field too.
	Response bool `json:"response"`
	// Trace is what becomes of traceparent: "off", "make" or "span".
	Trace string `json:"trace"`
	// SamplePercent is how many of the new traces are to be recorded.
	SamplePercent int `json:"samplePercent"`
}

const maxHeader = 128

// parse reads the configuration strictly and reports all problems at once.
func parse(text []byte) (*config, error) {
	c, err := sdk.ParseConfig(text, config{Header: "X-Request-Id", Format: "uuidv7", Accept: "trusted", Response: true, Trace: "off", SamplePercent: 100})
	if err != nil {
		return nil, err
	}
	var errs []error
	if !token(c.Header) {
		errs = append(errs, fmt.Errorf("config.header: want a field's name of 1 to %d characters", maxHeader))
	}
	switch strings.ToLower(c.Header) {
	case "traceparent", "tracestate", "host", "content-length", "transfer-encoding", "connection", "cookie", "authorization":
		errs = append(errs, errors.New("config.header: this field means something else"))
	}
	for _, f := range []struct {
		at, value string
		allowed   []string
	}{
		{"format", c.Format, []string{"uuidv7", "uuidv4"}},
		{"accept", c.Accept, []string{"trusted", "all", "none"}},
		{"trace", c.Trace, []string{"off", "make", "span"}},
	} {
		ok := false
		for _, a := range f.allowed {
			ok = ok || a == f.value
		}
		if !ok {
			errs = append(errs, fmt.Errorf("config.%s: want one of %s", f.at, strings.Join(f.allowed, ", ")))
		}
	}
	if c.SamplePercent < 0 || c.SamplePercent > 100 {
		errs = append(errs, errors.New("config.samplePercent: want 0 to 100"))
	}
	return &c, errors.Join(errs...)
}

// token reports whether s is a field's name (RFC 9110, 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != "" && len(s) <= maxHeader
}
