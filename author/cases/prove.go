package cases

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/sandbox"
)

// Bounds of the cases that an image carries. They are the author's; whoever runs the
// proxy has not seen them.
const (
	// MaxProved is how many cases an image may carry.
	MaxProved = 200
	// proofCPU is the CPU time of all of them, proofWall how long they may take by the
	// clock, behind everything else; proofMemory is of the process that runs them.
	proofCPU    = 30 * time.Second
	proofWall   = 5 * proofCPU
	proofMemory = 1 << 30
	// tries is how often a case may fail: on a machine that is full what an exchange waits
	// for may seem to be over before it is.
	tries      = 3
	maxVerdict = 64 << 10
	maxMarkers = 1024
)

// Prover runs the cases of images, each in a process of its own that has a low priority
// and bounds on CPU and memory.
type Prover struct {
	// Command is that process: it calls Prove.
	Command []string
	// Marks is a folder that remembers which images have passed; empty: nothing is
	// remembered. Version is that of this program: another one asks anew.
	Marks, Version string
}

// verdict is what the process says.
type verdict struct {
	File, Case string
	Faults     []string
	Err        string
}

// Prove runs the cases of an image. The error is why it is not to be used: a
// *plugin.CaseError, or what is wrong with the cases themselves; or it wraps
// sandbox.ErrCrowded if the machine had no time.
func (p *Prover) Prove(ctx context.Context, img *oci.Image) error {
	mark := p.mark(img.Digest)
	if mark != "" {
		if _, err := os.Stat(mark); err == nil {
			return nil
		}
	}
	said, err := p.ask(ctx, img)
	switch {
	case err != nil:
		return err
	case said.Err != "":
		return errors.New(said.Err)
	case said.Case != "":
		return &plugin.CaseError{File: said.File, Case: said.Case, Faults: said.Faults}
	}
	if mark != "" {
		remember(mark)
	}
	return nil
}

func (p *Prover) mark(digest string) string {
	if p.Marks == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(p.Version + " " + digest))
	return filepath.Join(p.Marks, hex.EncodeToString(sum[:]))
}

// remember makes an empty file. Where that fails the cases are run again, which does no
// harm.
func remember(mark string) {
	dir := filepath.Dir(mark)
	if os.MkdirAll(dir, 0o700) != nil {
		return
	}
	if all, err := os.ReadDir(dir); err == nil && len(all) >= maxMarkers {
		for _, one := range all {
			_ = os.Remove(filepath.Join(dir, one.Name()))
		}
	}
	_ = os.WriteFile(mark, nil, 0o600)
}

// ask runs the process.
func (p *Prover) ask(ctx context.Context, img *oci.Image) (*verdict, error) {
	var in bytes.Buffer
	if err := gob.NewEncoder(&in).Encode(img); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, proofWall)
	defer cancel()
	args := append(p.Command[1:len(p.Command):len(p.Command)], "--memory", strconv.FormatInt(proofMemory, 10), "--cpu", proofCPU.String())
	c := exec.CommandContext(limited, p.Command[0], args...) //nolint:gosec // this program
	c.Env = []string{"GOMAXPROCS=2", "GOTRACEBACK=none"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			c.Env = append(c.Env, name+"="+value)
		}
	}
	out, failure := &head{most: maxVerdict}, &head{most: 1024}
	c.Stdin, c.Stdout, c.Stderr = &in, out, failure
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	err := c.Run()
	switch {
	case err == nil:
		said := &verdict{}
		if err := json.Unmarshal(out.b, said); err != nil {
			return nil, fmt.Errorf("the process that runs the image's cases says nothing that can be read: %w", err)
		}
		return said, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(limited.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("%w: the image's own cases were not done after %v", sandbox.ErrCrowded, proofWall)
	case killedBy(err, syscall.SIGXCPU), killedBy(err, syscall.SIGKILL):
		return nil, fmt.Errorf("the image's own cases take more than %v of CPU time", proofCPU)
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(failure.b)), "\n")
	return nil, fmt.Errorf("the image's own cases cannot be run: %w: %s", err, line)
}

func killedBy(err error, signal syscall.Signal) bool {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == signal
}

// head keeps the first bytes that are written.
type head struct {
	most int
	b    []byte
}

// Write implements io.Writer.
func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), h.most-len(h.b))]...)
	return len(p), nil
}

// Prove is the process: it reads an image from in, runs its cases until one fails, and
// writes what it found to out. o has no Plugin. Of a process that is not to do more it is
// the last call, after sandbox.Confine.
func Prove(ctx context.Context, o Options, in io.Reader, out io.Writer) error {
	var img oci.Image
	if err := gob.NewDecoder(in).Decode(&img); err != nil {
		return err
	}
	o.Plugin, o.StartWithin = &img, proofWall
	bed, err := New(o)
	if err != nil {
		return err
	}
	defer func() { _ = bed.Close() }()
	return json.NewEncoder(out).Encode(bed.prove(ctx, img.Cases))
}

// prove reads all cases, then runs them until one fails.
func (b *Bed) prove(ctx context.Context, texts []oci.CasesFile) verdict {
	var files []*File
	number := 0
	for _, text := range texts {
		file, err := Parse(text.Name, text.Text)
		if err != nil {
			return verdict{Err: "the image's own cases: " + err.Error()}
		}
		if number += len(file.Cases); number > MaxProved {
			return verdict{Err: fmt.Sprintf("the image carries more than %d cases: leave some out of it", MaxProved)}
		}
		files = append(files, file)
	}
	for n, file := range files {
		for i := range file.Cases {
			r, err := b.Run(ctx, file, &file.Cases[i])
			for n := 1; n < tries && err == nil && len(r.Faults) > 0; n++ {
				r, err = b.Run(ctx, file, &file.Cases[i])
			}
			if err != nil {
				return verdict{Err: fmt.Sprintf("the image's own case %q (%s): %v", r.Name, texts[n].Name, err)}
			}
			if len(r.Faults) > 0 {
				return verdict{File: texts[n].Name, Case: r.Name, Faults: told(r.Faults)}
			}
		}
	}
	return verdict{}
}

// told is what is told of faults.
func told(faults []string) []string {
	all := faults[:min(len(faults), 20)]
	for i := range all {
		all[i] = fmt.Sprintf("%.1000s", all[i])
	}
	return all
}
