// Command upstream is the Services of the quick start: it answers with what it
// received, and under /catalog with pages that a cache may keep.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

func main() {
	address := flag.String("listen", "127.0.0.1:9000", "address to listen on")
	flag.Parse()
	mux := http.NewServeMux()
	mux.HandleFunc("/", echo)
	var c catalog
	mux.HandleFunc("GET /catalog/{page}", c.page)
	mux.HandleFunc("POST /catalog/break", func(http.ResponseWriter, *http.Request) { c.broken.Store(true) })
	mux.HandleFunc("POST /catalog/mend", func(http.ResponseWriter, *http.Request) { c.broken.Store(false) })
	server := &http.Server{Addr: *address, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

// catalog is pages that take a while to make.
type catalog struct{ broken atomic.Bool }

func (c *catalog) page(w http.ResponseWriter, r *http.Request) {
	if c.broken.Load() {
		http.Error(w, "out of order", http.StatusServiceUnavailable)
		return
	}
	time.Sleep(300 * time.Millisecond)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Surrogate-Key", "catalog page-"+r.PathValue("page"))
	fmt.Fprintf(w, "page %s, made at %s\n", r.PathValue("page"), time.Now().Format("15:04:05.000"))
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "%s %s\nHost: %s\n", r.Method, r.URL.RequestURI(), r.Host)
	var names []string
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			fmt.Fprintf(w, "%s: %s\n", name, value)
		}
	}
	fmt.Fprintln(w)
	if _, err := io.Copy(w, r.Body); err != nil {
		log.Print(err)
	}
}
