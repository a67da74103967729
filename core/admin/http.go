package admin

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	maxRequests = 64 // that one server answers at once, beside probes
	maxHeader   = 16 << 10
	// answerWithin bounds a whole answer, and so a profile's seconds.
	answerWithin = 2 * time.Minute
)

// HTTP returns a server for h, with bounds on all that a client decides. It speaks
// HTTP/1.1, and takes no request with a body.
func HTTP(h http.Handler, log *zap.Logger) *http.Server {
	slots := make(chan struct{}, maxRequests)
	bounded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.ContentLength != 0 {
			refuse(w, http.StatusRequestEntityTooLarge, "a request has no body here\n")
			return
		}
		if r.URL.Path == "/livez" || r.URL.Path == "/readyz" { // slow readers of the rest must not make probes fail
			h.ServeHTTP(w, r)
			return
		}
		select {
		case slots <- struct{}{}:
		default:
			w.Header().Set("Retry-After", "1")
			refuse(w, http.StatusServiceUnavailable, "too many requests at once\n")
			return
		}
		defer func() { <-slots }()
		h.ServeHTTP(w, r)
	})
	quiet, err := zap.NewStdLogAt(log, zap.DebugLevel) // one line for each stranger's handshake
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return &http.Server{
		Handler: bounded, ErrorLog: quiet, MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: answerWithin, IdleTimeout: time.Minute,
	}
}

// profiles are those of the process, by path.
func profiles() map[string]http.Handler {
	return map[string]http.Handler{
		"/debug/pprof/profile":   http.HandlerFunc(pprof.Profile),
		"/debug/pprof/heap":      pprof.Handler("heap"),
		"/debug/pprof/goroutine": pprof.Handler("goroutine"),
	}
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

func object(w http.ResponseWriter, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n'))
}

// limited is a listener whose connections are bounded in number.
type limited struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newLimited(l net.Listener, n int) *limited {
	return &limited{Listener: l, slots: make(chan struct{}, n), done: make(chan struct{})}
}

// Accept waits until there is room for one more, and for that one.
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

// Close ends an Accept that waits.
func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// counted is a connection that takes a place until it is closed.
type counted struct {
	net.Conn
	free func()
}

// Close gives the place back.
func (c *counted) Close() error {
	defer c.free()
	return c.Conn.Close()
}
