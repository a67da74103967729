// Command tool is the image of the testbed's own tests: a server that says what
// it sees of its container, and small programs for exec.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"penstock.dev/penstock/conformance/readme"
)

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"serve"}
	}
	if err := run(args[0], args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command string, args []string) error {
	switch command {
	case "serve":
		return serve(args)
	case "shop": // is the Service of plugins' examples
		server := &http.Server{Addr: ":8080", Handler: http.HandlerFunc(readme.Shop), ReadHeaderTimeout: 10 * time.Second}
		return server.ListenAndServe()
	case "cat": // FILE...
		for _, name := range args {
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			_, _ = os.Stdout.Write(text)
		}
		return nil
	case "write": // FILE TEXT
		return os.WriteFile(args[0], []byte(args[1]), 0o644)
	case "copy": // standard input to standard output
		_, err := io.Copy(os.Stdout, os.Stdin)
		return err
	case "exit": // with code 3, after a word
		fmt.Println("leaving")
		os.Exit(3)
	case "lookup": // NAME
		addrs, err := net.DefaultResolver.LookupHost(context.Background(), args[0])
		fmt.Println(strings.Join(addrs, " "))
		return err
	case "get": // URL
		resp, err := http.Get(args[0])
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(os.Stdout, resp.Body)
		return err
	}
	return fmt.Errorf("unknown command %q", command)
}

// serve answers until SIGTERM, and then for as long as --drain says.
func serve(args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	addr := flags.String("addr", ":8080", "")
	drain := flags.Duration("drain", 0, "how long to go on after SIGTERM")
	health := flags.String("grpc", "", "where to serve gRPC's health protocol")
	unready := flags.Duration("unready", 0, "how long /ready says no")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *health != "" {
		l, err := net.Listen("tcp", *health)
		if err != nil {
			return err
		}
		g := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(g, grpchealth.NewServer())
		go func() { _ = g.Serve(l) }()
	}
	began := time.Now()
	var healthy atomic.Bool
	healthy.Store(true)
	say := func(ok bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { healthy.Store(ok) }
	}
	check := func(ok func() bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if !ok() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthy", check(healthy.Load))
	mux.HandleFunc("/ready", check(func() bool { return time.Since(began) >= *unready }))
	mux.HandleFunc("/sick", say(false))
	mux.HandleFunc("/file/", func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile("/" + path.Clean(strings.TrimPrefix(r.URL.Path, "/file/")))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(text)
	})
	var made atomic.Int64
	mux.HandleFunc("/cached/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=3600")
		w.Header().Set("Surrogate-Key", strings.Join(r.URL.Query()["tag"], " "))
		fmt.Fprintf(w, "made %d\n", made.Add(1))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		hostname, _ := os.Hostname()
		fmt.Println("asked by", r.RemoteAddr)
		fmt.Fprintf(w, "%s %s %d\n", hostname, r.RemoteAddr, os.Getuid())
	})
	server := &http.Server{Addr: *addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	go func() {
		<-ended
		fmt.Println("asked to end")
		time.Sleep(*drain)
		_ = server.Close()
	}()
	fmt.Println("serving on", *addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	fmt.Println("ended")
	return nil
}
