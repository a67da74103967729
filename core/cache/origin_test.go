package cache_test

import (
	"errors"
	"fmt"
	"io"
	"time"

	"penstock.dev/penstock/core/exchange"
)

// answer has the origin answer somebody; false: nobody waits.
func (w *world) answer() bool {
	a := w.take(w.r.IntN)
	if a == nil {
		return false
	}
	if a.method == "PUT" {
		w.change(a)
		return true
	}
	switch n := w.r.IntN(100); {
	case n < 8:
		w.fail(a)
		return true
	case n < 10:
		a.reply <- nil
		return true
	}
	var old int
	if _, err := fmt.Sscanf(a.field("if-none-match"), `"v%d"`, &old); err == nil && !a.direct && w.chance(60) {
		w.current(a, w.history.versions[old])
		return true
	}
	if _, err := fmt.Sscanf(a.field("if-range"), `"v%d"`, &old); err == nil && !a.direct && w.chance(70) {
		w.rest(a, w.history.versions[old])
		return true
	}
	w.fresh(a)
	return true
}

// change is the answer to a PUT.
func (w *world) change(a *ask) {
	r := &reply{status: 204}
	if w.chance(20) {
		r.status = 409
	} else {
		w.history.changed(a, w.now)
	}
	a.reply <- r
}

var errRefused = &exchange.Error{Phase: exchange.PhaseSend, Side: exchange.SideUpstream, Status: 502, Reason: "connect-refused", Err: errors.New("the origin is down")}

// fail is an origin that cannot be reached, or says that it cannot answer.
func (w *world) fail(a *ask) {
	w.history.failed(a, w.now)
	if w.chance(50) {
		a.reply <- &reply{status: 503, length: 4, body: newBody([]byte("down"), io.EOF)}
		return
	}
	a.reply <- &reply{status: 502, length: 3, body: newBody([]byte("bad"), io.EOF), err: errRefused}
}

// rules makes up what an answer says of caching.
func (w *world) rules() (v rules, fields [][2]string) {
	v.lifetime = time.Duration([]int{0, 1, 2, 5, 10, 60}[w.r.IntN(6)]) * time.Second
	control := fmt.Sprintf("max-age=%d", v.lifetime/time.Second)
	add := func(percent int, flag *bool, directive string) {
		if w.chance(percent) {
			*flag = true
			control += ", " + directive
		}
	}
	add(8, &v.private, "private")
	add(4, &v.noStore, "no-store")
	add(5, &v.noCache, "no-cache")
	add(15, &v.must, "must-revalidate")
	add(20, &v.public, "public")
	if w.chance(15) {
		v.while, v.saidWhile = 4*time.Second, true
		control += ", stale-while-revalidate=4"
	}
	if w.chance(15) {
		v.onError, v.saidError = 8*time.Second, true
		control += ", stale-if-error=8"
	}
	fields = append(fields, [2]string{"Cache-Control", control})
	if v.cookie = w.chance(4); v.cookie {
		fields = append(fields, [2]string{"Set-Cookie", "a=b"})
	}
	return v, fields
}

// fresh is a version that nobody has seen before.
func (w *world) fresh(a *ask) {
	v := &version{id: len(w.history.versions), ask: a, at: time.Now(), place: w.history.places[a.by], tokens: 1 + w.r.IntN(40)}
	if w.chance(2) {
		v.tokens = 20_000
	}
	w.history.versions = append(w.history.versions, v)
	var fields [][2]string
	v.rules, fields = w.rules()
	if w.chance(40) {
		v.vary = true
		fields = append(fields, [2]string{"Vary", "X-Lang"})
	}
	if w.chance(20) {
		v.tag = w.one("t0", "t1")
		fields = append(fields, [2]string{"Surrogate-Key", v.tag})
	}
	fields = append(fields, [2]string{"ETag", v.etag()})
	all := content(v.id, v.tokens)
	r := &reply{status: 200, header: fields, length: int64(len(all))}
	var first int
	if _, err := fmt.Sscanf(a.field("range"), "bytes=%d-", &first); err == nil && first < len(all) && w.chance(60) {
		w.part(r, all, first)
		all = all[first:]
	}
	w.send(a, r, v, all)
}

// part makes r one of the whole from that byte on.
func (w *world) part(r *reply, all []byte, first int) {
	r.status, r.length = 206, int64(len(all)-first)
	r.header = append(r.header, [2]string{"Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, len(all)-1, len(all))})
}

// rest is what a stored part lacks.
func (w *world) rest(a *ask, v *version) {
	all := content(v.id, v.tokens)
	var first int
	if _, err := fmt.Sscanf(a.field("range"), "bytes=%d-", &first); err != nil || first >= len(all) {
		w.fresh(a)
		return
	}
	// What it says of caching now is what counts; it says the same again.
	r := &reply{status: 206, header: [][2]string{{"Cache-Control", fmt.Sprintf("max-age=%d", v.lifetime/time.Second)}, {"ETag", v.etag()}}}
	if v.vary {
		r.header = append(r.header, [2]string{"Vary", "X-Lang"})
	}
	if v.tag != "" {
		r.header = append(r.header, [2]string{"Surrogate-Key", v.tag})
	}
	again := rules{lifetime: v.lifetime}
	v.confirmed = append(v.confirmed, confirmation{ask: a, rules: again, whole: true})
	w.part(r, all, first)
	w.send(a, r, v, all[first:])
	w.seen["completions"]++
}

// send sends a body in one of the ways in which bodies come.
func (w *world) send(a *ask, r *reply, v *version, all []byte) {
	if a.method == "HEAD" {
		a.reply <- r
		return
	}
	if len(all) > 8 && w.chance(12) {
		v.cut = true
	}
	if w.chance(25) {
		r.length = -1
	}
	end := io.EOF
	if v.cut {
		all, end = all[:len(all)/2+w.r.IntN(len(all)/4)], io.ErrUnexpectedEOF
		if r.length >= 0 && w.chance(50) {
			end = io.EOF // shorter than its length
		}
	}
	if w.chance(60) {
		r.body = newBody(all, end)
	} else {
		n := w.r.IntN(len(all))
		r.body = newBody(all[:n:n], nil)
		w.streams = append(w.streams, &flow{r.body, all[n:], end})
	}
	a.reply <- r
}

// current is a 304, not always of what was asked about.
func (w *world) current(a *ask, v *version) {
	again, fields := w.rules()
	tag := v.etag()
	wrong := w.chance(5)
	if wrong {
		tag = `"other"`
	}
	switch w.r.IntN(20) {
	case 0: // another tag than it was stored with
		again.alone = true
		fields = append(fields, [2]string{"Surrogate-Key", "t2"})
	case 1: // it varies by more
		again.alone = true
		fields = append(fields, [2]string{"Vary", "X-Lang, X-Who"})
	}
	if !wrong {
		v.confirmed = append(v.confirmed, confirmation{ask: a, rules: again})
	}
	a.reply <- &reply{status: 304, header: append(fields, [2]string{"ETag", tag}), length: -1}
	w.seen["validations"]++
}
