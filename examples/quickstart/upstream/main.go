// Command upstream is the Service of the quick start: it answers with what it
// received.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"slices"
	"time"
)

func main() {
	address := flag.String("listen", "127.0.0.1:9000", "address to listen on")
	flag.Parse()
	server := &http.Server{Addr: *address, Handler: http.HandlerFunc(echo), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
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
