package rfc9110

import (
	"sync/atomic"
	"time"
)

// Date makes the value of the field Date, once a second. The zero value is
// ready; it is safe for use by several goroutines.
type Date struct{ last atomic.Pointer[second] }

type second struct {
	unix int64
	text []byte
}

const dateLayout = "Mon, 02 Jan 2006 15:04:05 GMT" // IMF-fixdate, RFC 9110, 5.6.7

// AppendTo appends now in the format of Date.
func (d *Date) AppendTo(b []byte, now time.Time) []byte {
	s := d.last.Load()
	if unix := now.Unix(); s == nil || s.unix != unix {
		s = &second{unix: unix, text: now.UTC().AppendFormat(nil, dateLayout)}
		d.last.Store(s)
	}
	return append(b, s.text...)
}
