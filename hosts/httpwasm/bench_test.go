package httpwasm

import (
	"testing"

	"penstock.dev/penstock/core/filter"
)

// BenchmarkExchange is an exchange whose guest calls some host functions.
func BenchmarkExchange(b *testing.B) {
	tests := map[string][]op{
		"nothing": nil,
		"URI":     repeat(do("get_uri", buffer, 99), 10),
		"value":   repeat(do("get_header_values", 0, "x-two", buffer, 99), 10),
		"names":   repeat(do("get_header_names", 0, buffer, 999), 10),
		"set":     repeat(do("set_header_value", 0, "x-two", "3"), 10),
		"body":    {do("read_body", 0, buffer, 4<<10), do("write_body", 0, buffer, 4<<10)},
	}
	for name, steps := range tests {
		b.Run(name, func(b *testing.B) {
			f := start(b, &guest{next: 1, request: steps}, nil).f
			x, w, body := newExchange(), &filter.Waker{}, &partsBody{}
			body.trailer = &x.Request.Trailer
			for n := range byte(12) {
				x.Request.Header.Add([]byte{'X', '-', 'M', 'o', 'r', 'e', 'a' + n}, []byte("1"))
			}
			parts := []string{string(make([]byte, 4<<10))}
			b.ReportAllocs()
			for b.Loop() {
				x.Arena.Reset()
				body.parts = parts
				x.Request.Body, x.Request.ContentLength = body, 4<<10
				s, _ := f.Begin(x, w)
				if _, err := s.RequestHeaders(false); err != nil {
					b.Fatal(err)
				}
				if _, err := s.ResponseHeaders(true); err != nil {
					b.Fatal(err)
				}
				s.Done()
			}
		})
	}
}
