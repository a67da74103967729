package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestCacheCommands: what is asked of the admin address, and one clear line for what goes
// wrong.
func TestCacheCommands(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	says := func(status int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	cut := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
	}
	large := func(w http.ResponseWriter, _ *http.Request) {
		part := make([]byte, 1<<20)
		for range adminBytes/len(part) + 1 {
			_, _ = w.Write(part)
		}
	}
	tests := map[string]struct {
		args   string
		answer http.HandlerFunc
		asked  string // method and target
		out    string
		err    string // contained; empty: none
	}{
		"a purge": {
			"purge -n store --tag a --tag b --url https://a.example/x?y --prefix https://a.example --hostname a.example", says(200, "{}\n"),
			"DELETE /cache?hostname=a.example&namespace=store&prefix=https%3A%2F%2Fa.example&tag=a&tag=b&url=https%3A%2F%2Fa.example%2Fx%3Fy", "{}\n", "",
		},
		"a soft one":               {"purge -n store --tag a --soft", says(200, ""), "DELETE /cache?namespace=store&soft=true&tag=a", "", ""},
		"one of nothing":           {"purge -n store", nil, "", "", "at least one of the flags in the group [url prefix hostname tag] is required"},
		"one of no namespace":      {"purge --tag a", nil, "", "", `required flag(s) "namespace" not set`},
		"one that is refused":      {"purge -n store --tag a,b", says(400, "not a purge: tags[0]\n"), "DELETE /cache?namespace=store&tag=a%2Cb", "", "400 Bad Request: not a purge: tags[0]"},
		"the numbers":              {"stats", says(200, "{}"), "GET /cache/stats", "{}", ""},
		"what is stored":           {"inspect -n store", says(200, "{}"), "GET /cache/objects?namespace=store", "{}", ""},
		"what is stored of a URL":  {"inspect -n store https://Shop.example.:8443/a%20b?c", says(200, "{}"), "GET /cache/objects?hostname=shop.example&namespace=store&path=%2Fa%2520b%3Fc", "{}", ""},
		"what is stored of a path": {"inspect -n store /a", nil, "", "", `"/a" is no absolute URL: want one such as https://shop.example/images/`},
		"nobody answers":           {"stats --admin " + nobody, nil, "", "", "--admin " + nobody + ": dial tcp"},
		"no address":               {"stats --admin a:b:c", nil, "", "", "--admin"},
		"no certificate":           {"stats --cert no --key no --ca no", nil, "", "", "--cert, --key: open no: no such file or directory"},
		"a certificate alone":      {"stats --cert a", nil, "", "", "[cert key ca]"},
		"an answer that is cut":    {"stats", cut, "GET /cache/stats", "{", ": the answer ended early: unexpected EOF"},
		"an answer without end":    {"stats", large, "GET /cache/stats", "", fmt.Sprintf(": it answers with more than %d bytes", adminBytes)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			asked := ""
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Method + " " + r.URL.RequestURI()
				tt.answer(w, r)
			}))
			defer s.Close()
			var out strings.Builder
			c := cacheCommand()
			c.SilenceUsage, c.SilenceErrors = true, true
			args := strings.Fields(tt.args)
			if !strings.Contains(tt.args, "--admin") {
				args = append(args, "--admin", strings.TrimPrefix(s.URL, "http://"))
			}
			c.SetArgs(args)
			c.SetOut(&out)
			err := c.ExecuteContext(t.Context())
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("got error %v; want %q", err, tt.err)
			}
			if asked != tt.asked || name != "an answer without end" && out.String() != tt.out {
				t.Errorf("asked %q, wrote %.100q; want %q, %q", asked, out.String(), tt.asked, tt.out)
			}
		})
	}
}
