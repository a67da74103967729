package readme

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
)

// Shop is the Service of the examples: it answers with the request that it got, and with
// header fields as many servers have them.
func Shop(w http.ResponseWriter, r *http.Request) {
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
