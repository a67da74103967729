// Command testbed starts a Kubernetes cluster on this machine and keeps it until
// it is interrupted. See the README beside its go.mod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"penstock.dev/penstock/conformance/kubernetes/node"
	"penstock.dev/penstock/conformance/kubernetes/testbed"
)

func main() {
	outside := testbed.Enter("127.0.0.1:0")[0]
	if err := run(outside); err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		os.Exit(1)
	}
}

// files is a flag that may be given several times.
type files []string

func (f *files) String() string         { return strings.Join(*f, " ") }
func (f *files) Set(value string) error { *f = append(*f, value); return nil }

// images is the flag --image NAME=PROGRAM.
type images map[string]node.Image

func (i images) String() string { return "" }

func (i images) Set(value string) error {
	name, program, ok := strings.Cut(value, "=")
	if !ok {
		return errors.New("want NAME=PROGRAM")
	}
	i[name] = node.Image{Program: program}
	return nil
}

func run(outside net.Listener) error {
	root, err := testbed.Root()
	if err != nil {
		return err
	}
	known, err := testbed.Images(root)
	if err != nil {
		return err
	}
	var apply files
	nodes := flag.Int("nodes", 2, "how many `nodes`")
	flag.Var(images(known), "image", "`NAME=PROGRAM`: what containers of an image run; may be repeated")
	flag.Var(&apply, "apply", "YAML `file` or folder to apply at the start; may be repeated")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%6.1f s  "+format+"\n", append([]any{time.Since(began).Seconds()}, args...)...)
	}
	t, err := testbed.Start(ctx, testbed.Options{Nodes: *nodes, Images: known, Log: say})
	if err != nil {
		return err
	}
	defer t.Stop()
	if err := t.Apply(ctx, apply...); err != nil {
		return err
	}
	say("nodes ready")
	return serve(ctx, t, outside, filepath.Join(root, "bin", "testbed"))
}

// serve lets people in until ctx is done, or runs a command for them.
func serve(ctx context.Context, t *testbed.Testbed, outside net.Listener, bin string) error {
	if args := flag.Args(); len(args) > 0 {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), "KUBECONFIG="+t.Kubeconfig, "PATH="+bin+":"+os.Getenv("PATH"))
		return cmd.Run()
	}
	return t.Serve(ctx, outside, bin)
}
