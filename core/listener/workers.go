package listener

import "time"

// Goroutines that have served a connection stay for the next one, since their stacks
// have grown to what a TLS handshake and a chain need: growing one takes a good part
// of a short connection's time. So many stay, and so long.
const (
	mostResting = 256
	restTime    = 2 * time.Second
)

// work is a connection to be served.
type work struct {
	socket *socket
	client *client
}

// run serves a connection on a goroutine that rests, else on a new one.
func (l *Listeners) run(w work) {
	select {
	case l.next <- w:
	default:
		l.running.Go(func() { l.work(w) })
	}
}

// work serves one connection after another.
func (l *Listeners) work(w work) {
	rest := time.NewTimer(restTime)
	defer rest.Stop()
	for {
		l.serve(w.socket, w.client)
		w = work{} // nothing of it is kept
		rest.Reset(restTime)
		if l.resting.Add(1) > mostResting {
			l.resting.Add(-1)
			return
		}
		more := false
		select {
		case w, more = <-l.next:
		case <-rest.C:
		case <-l.drained:
		}
		l.resting.Add(-1)
		if !more {
			return
		}
	}
}
