package sandbox

import "time"

// Clock is the time that guests see, and that their timers go by. What the sandbox
// itself measures goes by the machine's time, whatever a Clock says.
type Clock interface {
	Now() time.Time
	// NewTimer returns a timer that does not run yet.
	NewTimer() Timer
}

// Timer fires once after Reset, as time.Timer does. Its methods may be called by several
// goroutines at once.
type Timer interface {
	C() <-chan time.Time
	// Reset has it fire d from now, and not when it was to before; Stop not at all.
	Reset(d time.Duration)
	Stop()
	// Handled says that what the timer is for has been done, after it fired: a clock
	// that is set by hand waits for that.
	Handled()
}

// SystemClock is the machine's time.
type SystemClock struct{}

// Now implements Clock.
func (SystemClock) Now() time.Time { return time.Now() }

// NewTimer implements Clock.
func (SystemClock) NewTimer() Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return systemTimer{t}
}

type systemTimer struct{ t *time.Timer }

func (s systemTimer) C() <-chan time.Time   { return s.t.C }
func (s systemTimer) Reset(d time.Duration) { s.t.Reset(d) }
func (s systemTimer) Stop()                 { s.t.Stop() }
func (systemTimer) Handled()                {}
