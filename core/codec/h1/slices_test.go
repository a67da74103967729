package h1

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"penstock.dev/penstock/core/exchange"
	"penstock.dev/penstock/core/internal/bufpool"
)

// slicesBody is a body in memory, or a part of it in a file.
type slicesBody struct {
	list [][]byte
	end  error
	file *os.File
	at   int64
	in   int64 // bytes that lie in file
}

func (p *slicesBody) Next() ([]byte, error) {
	if len(p.list) == 0 {
		return nil, p.end
	}
	b := p.list[0]
	p.list = p.list[1:]
	return b, nil
}

func (p *slicesBody) Read([]byte) (int, error) { return 0, errors.New("not read") }

func (p *slicesBody) Buffered() int {
	if len(p.list) == 0 {
		return 0
	}
	return len(p.list[0])
}

func (p *slicesBody) Close() {}

func (p *slicesBody) File() (*os.File, int64, int64, bool) {
	n := min(p.in, 300<<10)
	return p.file, p.at, n, n > 0
}

func (p *slicesBody) Skip(n int64) { p.at, p.in = p.at+n, p.in-n }

func TestSendSlices(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 64<<10) // 1 MiB
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, append([]byte("xx"), content...), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	size := int64(len(content))
	cut := errors.New("cut")
	tests := map[string]struct {
		body *slicesBody
		want error
	}{
		"one piece":                    {&slicesBody{list: [][]byte{content}, end: io.EOF}, nil},
		"several":                      {&slicesBody{list: [][]byte{content[:10], content[10:70000], content[70000:]}, end: io.EOF}, nil},
		"a file":                       {&slicesBody{file: file, at: 2, in: size, end: io.EOF}, nil},
		"a file that is too short":     {&slicesBody{file: file, at: 3, in: size, end: io.EOF}, io.ErrUnexpectedEOF},
		"cut short":                    {&slicesBody{list: [][]byte{content[:size/2]}, end: cut}, cut},
		"shorter than its length":      {&slicesBody{list: [][]byte{content[:size-1]}, end: io.EOF}, errBodyShort},
		"longer than its length":       {&slicesBody{list: [][]byte{content, content[:1]}, end: io.EOF}, errBodyLong},
		"whole, but not said to be so": {&slicesBody{list: [][]byte{content}, end: cut}, cut},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := make(chan []byte)
			go func() {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Error(err)
				}
				all, _ := io.ReadAll(c)
				c.Close()
				got <- all
			}()
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			var pool bufpool.Pool
			var w wire
			w.init(c, &pool)
			s := &sender{w: &w, pool: &pool, idle: 10 * time.Second}
			s.begin()
			s.b = append(s.b, "head "...)
			err = s.sendSlices(test.body, size)
			c.Close()
			all := <-got
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Fatalf("%v; want %v", err, test.want)
			}
			if err == nil && (string(all[:5]) != "head " || !bytes.Equal(all[5:], content) || s.total != size) {
				t.Errorf("%d bytes arrived of %d counted", len(all), s.total)
			}
			if err != nil && int64(len(all)) >= size+5 {
				t.Errorf("%d bytes arrived: it looks whole", len(all))
			}
		})
	}
}

var (
	_ exchange.Slicer = (*slicesBody)(nil)
	_ exchange.Filer  = (*slicesBody)(nil)
)
