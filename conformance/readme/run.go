package readme

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Run sends what the command would send, through client, to the proxy at address
// ("127.0.0.1:8080"), whatever the hostname is, and compares what comes with what the
// README shows. client must not follow redirects, nor decompress.
func (s *Step) Run(ctx context.Context, client *http.Client, address string) error {
	r, err := http.NewRequestWithContext(ctx, s.curl.method, s.curl.url.String(), strings.NewReader(s.curl.body))
	if err != nil {
		return err
	}
	if s.curl.body == "" {
		r.Body, r.ContentLength = nil, 0
	}
	r.Header["User-Agent"] = nil // or there would be one of Go's
	r.Host, r.URL.Host = s.curl.url.Host, address
	for _, f := range s.curl.fields {
		if strings.EqualFold(f[0], "host") {
			r.Host = f[1]
			continue
		}
		r.Header[http.CanonicalHeaderKey(f[0])] = append(r.Header[http.CanonicalHeaderKey(f[0])], f[1])
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	return s.compare(response, string(body))
}

// compare says what differs.
func (s *Step) compare(response *http.Response, body string) error {
	want := s.want
	if s.curl.include {
		head := want
		if i := slices.Index(want, ""); i >= 0 {
			head, want = want[:i], want[i+1:]
		} else {
			want = head[max(len(head)-1, 0):] // "...": any body too
			if !slices.Equal(want, []string{"..."}) {
				want = nil
			}
		}
		if err := compareHead(head, response); err != nil {
			return fmt.Errorf("$ %s: %w", s.Line, err)
		}
	}
	if s.curl.method == http.MethodHead {
		return nil
	}
	if !pattern(strings.Join(want, "\n")).MatchString(strings.TrimSuffix(body, "\n")) {
		return fmt.Errorf("$ %s: got\n%s\nwant\n%s", s.Line, body, strings.Join(want, "\n"))
	}
	return nil
}

// compareHead compares a status line and header fields. A line "..." allows others.
func compareHead(want []string, response *http.Response) error {
	var got []string
	for name, values := range response.Header {
		for _, v := range values {
			got = append(got, strings.ToLower(name)+": "+v)
		}
	}
	slices.Sort(got)
	shown := response.Proto + " " + response.Status + "\n" + strings.Join(got, "\n")
	if len(want) == 0 || !pattern(want[0]).MatchString(response.Proto+" "+response.Status) {
		return fmt.Errorf("got\n%s\nwant\n%s", shown, strings.Join(want, "\n"))
	}
	others := false
	for _, line := range want[1:] {
		if line == "..." {
			others = true
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		p := pattern(strings.ToLower(name) + ":" + value)
		i := slices.IndexFunc(got, p.MatchString)
		if i < 0 {
			return fmt.Errorf("%q is missing; got\n%s", line, shown)
		}
		got = slices.Delete(got, i, i+1)
	}
	if len(got) > 0 && !others {
		return fmt.Errorf("%q is more than is shown", got)
	}
	return nil
}

// pattern is for texts that equal one in which ... stands for anything: as a line for any
// lines, or none, within one for any text of it.
func pattern(want string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	lines := strings.Split(want, "\n")
	for i, line := range lines {
		if line == "..." {
			b.WriteString(`(?:[^\n]*(?:\n|\z))*?`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), `\.\.\.`, `[^\n]*`))
		if i < len(lines)-1 {
			b.WriteString(`(?:\n|\z)`)
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}
