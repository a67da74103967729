package main

import "encoding/hex"

// parent is what traceparent says (W3C Trace Context, 3.2).
type parent struct {
	trace   string // 32 hexadecimal digits
	span    string // 16
	sampled bool
}

// parseParent reads a traceparent field; ok is false if it is none, and a new trace is to be
// begun (3.2.2).
func parseParent(field string) (p parent, ok bool) {
	const length = 55
	if len(field) < length || field[2] != '-' || field[35] != '-' || field[52] != '-' {
		return p, false
	}
	version, trace, span, flags := field[:2], field[3:35], field[36:52], field[53:55]
	if !digits(version) || version == "ff" || !digits(trace) || !digits(span) || !digits(flags) || zeros(trace) || zeros(span) {
		return p, false
	}
	// What later versions add comes after a dash.
	if len(field) > length && (version == "00" || field[length] != '-') {
		return p, false
	}
	last := flags[1]
	if last >= 'a' {
		last -= 'a' - '9' - 1
	}
	return parent{trace: trace, span: span, sampled: last&1 == 1}, true
}

// String writes it as version 00.
func (p parent) String() string {
	flags := "00"
	if p.sampled {
		flags = "01"
	}
	return "00-" + p.trace + "-" + p.span + "-" + flags
}

// begin begins a trace, by bytes for it and for its first span.
func begin(trace, span random, percent int) parent {
	// Zeros mean that there is none; a random number is that once in 2^64 times.
	trace[15] |= 1
	// Those who compare trace ids sample by their last bytes: not by these.
	return parent{trace: hex.EncodeToString(trace[:]), span: newSpan(span), sampled: int(span[15])*100 < percent*256}
}

func newSpan(span random) string {
	span[7] |= 1
	return hex.EncodeToString(span[:8])
}

// digits reports whether s has hexadecimal digits in lower case only.
func digits(s string) bool {
	for i := range len(s) {
		if c := s[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

func zeros(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}
