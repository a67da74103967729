package readme

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
)

// Shop is the Service of the examples: it answers with the request that it got, and with
// header fields as many servers have them. At /verify it says who may pass, as a service
// does that plugins ask.
func Shop(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/verify" {
		verify(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Server", "shop/1.2.3")
	if r.Method == http.MethodHead {
		return
	}
	_, _ = fmt.Fprintf(w, "%s %s\nHost: %s\n", r.Method, r.URL.RequestURI(), r.Host)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			_, _ = fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err == nil && len(body) > 0 {
		_, _ = fmt.Fprintf(w, "\n%s\n", body)
	}
}

// verify lets one bearer pass, and says who it is.
func verify(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer open-sesame" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("X-User", "ann")
}
