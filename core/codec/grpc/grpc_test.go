package grpc

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"penstock.dev/penstock/core/exchange"
)

func TestKindOf(t *testing.T) {
	for in, want := range map[string]Kind{
		"application/grpc": GRPC, "Application/gRPC": GRPC, "application/grpc+proto": GRPC, "application/grpc; x=y": GRPC, "application/grpcx": None,
		"application/grpc-web": Web, "application/grpc-web+proto": Web, "application/grpc-web-text": Text, "application/grpc-web-text+proto": Text,
		"application/grpc-webx": None, "application/json": None, "": None, "application/grp": None,
	} {
		if got := KindOf([]byte(in)); got != want {
			t.Errorf("%q: got %d; want %d", in, got, want)
		}
	}
}

func TestTimeout(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "3S": 3 * time.Second, "4m": 4 * time.Millisecond, "5u": 5 * time.Microsecond, "6n": 6, "00000007S": 7 * time.Second,
		"99999999H": math.MaxInt64, "0S": 0,
	} {
		if got, ok := Timeout([]byte(in)); !ok || got != want {
			t.Errorf("%q: got %v, %v; want %v", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "S", "1", "1s", "-1S", "1.5S", "123456789S", " 1S"} {
		if got, ok := Timeout([]byte(in)); ok {
			t.Errorf("%q: got %v; want none", in, got)
		}
	}
}

func TestAnswer(t *testing.T) {
	answer := func(asked string, status int, grpc int32, body string, change func(*exchange.Local)) *exchange.Local {
		l := &exchange.Local{Status: status, GRPCStatus: grpc, Body: []byte(body)}
		if change != nil {
			change(l)
		}
		Answer(l, []byte(asked))
		return l
	}
	text := func(l *exchange.Local) string {
		var b strings.Builder
		for _, f := range l.Header.Fields() {
			b.WriteString(strings.ToLower(string(f.Name)) + "=" + string(f.Value) + " ")
		}
		return strings.TrimSpace(b.String() + string(l.Body))
	}
	for _, tt := range []struct {
		l      *exchange.Local
		status int
		want   string
	}{
		{answer("text/plain", 403, -1, "no", nil), 403, "no"},
		{answer("application/grpc+proto", 403, -1, "no: 5%", nil), 200, "content-type=application/grpc+proto grpc-status=7 grpc-message=no: 5%25"},
		{answer("application/grpc-web+json; charset=utf-8", 404, -1, "", nil), 200, "content-type=application/grpc-web+json grpc-status=12"},
		{answer("application/grpc;a=b", 404, -1, "", nil), 200, "content-type=application/grpc grpc-status=12"},
		{answer("application/grpc", 404, -1, "", nil), 200, "content-type=application/grpc grpc-status=12"},
		{answer("application/grpc", 503, 8, "ü", nil), 200, "content-type=application/grpc grpc-status=8 grpc-message=%C3%BC"},
		{answer("application/grpc-web-text", 504, 4, "", nil), 200, "content-type=application/grpc-web-text grpc-status=4"},
		{answer("application/grpc", 200, -1, "\x00", func(l *exchange.Local) { l.Header.Add(contentType, []byte("application/grpc+proto")) }), 200, "content-type=application/grpc+proto \x00"},
	} {
		if got := text(tt.l); tt.l.Status != tt.status || got != tt.want {
			t.Errorf("got %d %q; want %d %q", tt.l.Status, got, tt.status, tt.want)
		}
	}
	if l := answer("application/grpc", 500, -1, strings.Repeat("x", 5000), nil); len(text(l)) > maxMessage+100 {
		t.Errorf("got a message of %d bytes", len(text(l)))
	}
}

// reader is a Body that reads in pieces.
type reader struct{ io.Reader }

func (reader) Buffered() int { return 0 }
func (reader) Close()        {}

func TestTextBody(t *testing.T) {
	enc := base64.StdEncoding.EncodeToString
	long := bytes.Repeat([]byte("abcdefghij"), 3000)
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{enc([]byte("hello")), "hello"},
		{enc([]byte("a")) + enc([]byte("bc")) + enc([]byte("def")), "abcdef"},
		{enc(long), string(long)},
		{enc(long) + enc([]byte("x")) + enc(long), string(long) + "x" + string(long)},
		{"YWJj!", "abc?"}, {"YW", "?"}, {"YWJjY", "abc?"}, {"YW=j", "?"}, {"YW\nJj", "?"}, {"====", "?"},
	} {
		for _, one := range []bool{false, true} {
			var r io.Reader = strings.NewReader(tt.in)
			if one {
				r = iotest.OneByteReader(r)
			}
			var b TextBody
			b.Reset(reader{r})
			got, err := io.ReadAll(&b)
			want, bad := strings.CutSuffix(tt.want, "?")
			var known *exchange.Error
			if string(got) != want || bad != (err != nil) || bad && (!errors.As(err, &known) || known.Status != 400) {
				t.Errorf("%.20q: got %.20q, %v; want %.20q", tt.in, got, err, tt.want)
			}
		}
	}
}

func FuzzTextBody(f *testing.F) {
	f.Add([]byte("YWJj"), uint8(1))
	f.Add([]byte("YQ==YmM=ZGVm"), uint8(7))
	f.Fuzz(func(t *testing.T, in []byte, size uint8) {
		var b TextBody
		b.Reset(reader{bytes.NewReader(in)})
		var got []byte
		p := make([]byte, int(size)+1)
		var err error
		for err == nil {
			var n int
			n, err = b.Read(p)
			got = append(got, p[:n]...)
		}
		var want []byte // by the standard library, quantum by quantum
		bad := len(in)%4 != 0
		for i := 0; i+4 <= len(in); i += 4 {
			d, derr := base64.StdEncoding.DecodeString(string(in[i : i+4]))
			if derr != nil || bytes.ContainsAny(in[i:i+4], "\r\n") {
				bad = true
				break
			}
			want = append(want, d...)
		}
		if bad != (err != io.EOF) || !bad && !bytes.Equal(got, want) || bad && !bytes.HasPrefix(want, got) {
			t.Errorf("got %q, %v; want %q, bad %v", got, err, want, bad)
		}
	})
}

func TestWebBody(t *testing.T) {
	for _, kind := range []Kind{Web, Text} {
		for _, size := range []int{0, 5, 100_000} {
			x := &exchange.Exchange{}
			p := &x.Response
			p.Header.Add([]byte("content-type"), []byte("application/grpc+proto"))
			message := bytes.Repeat([]byte("m"), size)
			p.Body = exchange.NewBytes(message)
			p.Trailer.Add([]byte("Grpc-Status"), []byte("0"))
			p.Trailer.Add([]byte("x-a"), []byte("b"))
			var b WebBody
			FromGRPC(x, kind, &b)
			got, err := io.ReadAll(p.Body.(io.Reader))
			if err != nil {
				t.Fatal(err)
			}
			if kind == Text {
				var d TextBody
				d.Reset(reader{bytes.NewReader(got)})
				if got, err = io.ReadAll(&d); err != nil {
					t.Fatal(err)
				}
			}
			want := string(message) + "\x80\x00\x00\x00\x18grpc-status: 0\r\nx-a: b\r\n"
			ct, _ := p.Header.Get("content-type")
			if string(got) != want || p.Trailer.Len() > 0 || p.ContentLength != -1 || KindOf(ct) != kind || !bytes.HasSuffix(ct, []byte("+proto")) {
				t.Errorf("kind %d, %d bytes: got %.40q of %d, content type %s", kind, size, got, len(got), ct)
			}
		}
	}
}

func TestToGRPC(t *testing.T) {
	for in, want := range map[string]string{"application/grpc-web+proto": "application/grpc+proto", "application/grpc-web-text": "application/grpc", "application/grpc": "", "text/plain": ""} {
		x := &exchange.Exchange{}
		q := &x.Request
		q.Body, q.ContentLength = exchange.NewBytes([]byte("AAAA")), 4
		q.Header.Add([]byte("Content-Type"), []byte(in))
		kind := ToGRPC(x)
		ct, _ := q.Header.Get("content-type")
		if want == "" {
			if kind != None || string(ct) != in || q.Header.Len() != 1 {
				t.Errorf("%s: got %d, %s", in, kind, ct)
			}
			continue
		}
		if string(ct) != want || kind != KindOf([]byte(in)) || !q.TE || (q.ContentLength == -1) != (kind == Text) {
			t.Errorf("%s: got %s, TE %v, length %d", in, ct, q.TE, q.ContentLength)
		}
	}
}
