package cases

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/sandbox"
)

// TestMain is also the process that runs an image's cases: what it does stands in the
// image's first file of cases.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != "prove" {
		os.Exit(m.Run())
	}
	var img oci.Image
	if err := gob.NewDecoder(os.Stdin).Decode(&img); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	want := []string{"--memory", "1073741824", "--cpu", "30s"}
	_, secret := os.LookupEnv("SECRET_OF_THE_PROXY")
	if !slices.Equal(os.Args[2:], want) || secret || string(img.Module) != "module" {
		fmt.Fprintf(os.Stderr, "called with %q, %t\n", os.Args[2:], secret)
		os.Exit(2)
	}
	switch does := string(img.Cases[0].Text); does {
	case "die":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Minute)
	case "hang":
		time.Sleep(time.Minute)
	case "flood":
		fmt.Print(strings.Repeat("x", 10*maxVerdict))
	case "fail":
		fmt.Fprintln(os.Stderr, "out of memory\nmore")
		os.Exit(3)
	default:
		fmt.Print(does)
	}
	os.Exit(0)
}

func TestProver(t *testing.T) {
	t.Setenv("SECRET_OF_THE_PROXY", "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	says := func(v verdict) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	tests := map[string]struct{ does, want string }{
		"they pass":         {says(verdict{}), ""},
		"one fails":         {says(verdict{File: "f", Case: "c", Faults: []string{"a", "b"}}), `the image's own case "c" (f) fails: a (and 1 more)`},
		"they are wrong":    {says(verdict{Err: "line 1"}), "line 1"},
		"it is killed":      {"die", "take more than 30s of CPU time"},
		"it fails":          {"fail", "cannot be run: exit status 3: out of memory"},
		"it says too much":  {"flood", "says nothing that can be read"},
		"it says nothing":   {"", "says nothing that can be read"},
		"it hangs for long": {"hang", "context deadline exceeded"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			if test.does == "hang" {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			p := &Prover{Command: []string{self, "prove"}}
			err := p.Prove(ctx, &oci.Image{Digest: "sha256:1", Module: []byte("module"), Cases: []oci.CasesFile{{Name: "f", Text: []byte(test.does)}}})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v; want %q", err, test.want)
			}
			var failed *plugin.CaseError
			if errors.As(err, &failed) != (name == "one fails") || errors.Is(err, sandbox.ErrCrowded) {
				t.Errorf("got a %T", err)
			}
		})
	}
}

// TestProverRemembers: what has passed is not run again, by this version.
func TestProverRemembers(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	marks := filepath.Join(t.TempDir(), "proved")
	passes := func(version, digest, does string) bool {
		t.Helper()
		p := &Prover{Command: []string{self, "prove"}, Marks: marks, Version: version}
		return p.Prove(t.Context(), &oci.Image{Digest: digest, Module: []byte("module"), Cases: []oci.CasesFile{{Text: []byte(does)}}}) == nil
	}
	for _, test := range []struct {
		version, digest, does string
		want                  bool
	}{
		{"1", "sha256:1", "fail", false},
		{"1", "sha256:1", "{}", true},
		{"1", "sha256:1", "fail", true}, // it is not asked
		{"1", "sha256:2", "fail", false},
		{"2", "sha256:1", "fail", false},
	} {
		if got := passes(test.version, test.digest, test.does); got != test.want {
			t.Errorf("%+v: got %t", test, got)
		}
	}
	for i := range maxMarkers + 5 {
		remember(filepath.Join(marks, fmt.Sprint(i)))
	}
	if all, err := os.ReadDir(marks); err != nil || len(all) > maxMarkers {
		t.Errorf("%d marks, %v; want %d at most", len(all), err, maxMarkers)
	}
}

// TestProveReads: cases that cannot be run are refused before anything runs.
func TestProveReads(t *testing.T) {
	many := "cases:\n"
	for i := range MaxProved/2 + 1 {
		many += fmt.Sprintf("- {name: \"%d\", request: {}}\n", i)
	}
	tests := map[string]struct {
		files []string
		want  string
	}{
		"none":               {nil, ""},
		"no YAML":            {[]string{"["}, "the image's own cases: a.yaml: "},
		"an unknown field":   {[]string{"caes: []"}, `unknown field "caes"`},
		"nothing to be so":   {[]string{"cases: [{name: a}]"}, `case "a": it says nothing`},
		"more than there is": {[]string{many, many}, "the image carries more than 200 cases"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			img := oci.Image{Module: []byte("no module")}
			for _, text := range test.files {
				img.Cases = append(img.Cases, oci.CasesFile{Name: "a.yaml", Text: []byte(text)})
			}
			var in, out bytes.Buffer
			if err := gob.NewEncoder(&in).Encode(img); err != nil {
				t.Fatal(err)
			}
			if err := Prove(t.Context(), Options{CacheDir: filepath.Join(t.TempDir(), "compiled"), ABIs: func(World) []plugin.ABI { return nil }}, &in, &out); err != nil {
				t.Fatal(err)
			}
			var got verdict
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(got.Err, test.want) || (test.want == "") != (got.Err == "") {
				t.Errorf("got %+v; want %q", got, test.want)
			}
		})
	}
	if err := Prove(t.Context(), Options{}, strings.NewReader("no image"), &bytes.Buffer{}); err == nil {
		t.Error("it reads what is no image")
	}
}
