package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/core/snapshot"
)

// tryOptions are those of penstock plugin run.
type tryOptions struct {
	to, listen, config, accessLog string
	admin                         string
	egress, services              []string
}

func pluginRunCommand() *cobra.Command {
	var o tryOptions
	c := &cobra.Command{
		Use:   "run [FOLDER] --to URL",
		Short: "Serve a plugin in front of a URL, and again whenever its source changes",
		Long: "Build the plugin in a folder and serve it in front of a URL, with the proxy as it is. When the source, plugin.json,\n" +
			"schema.json or the configuration changes, the plugin is built anew and takes over without a lost request. What does\n" +
			"not build, or does not start, is told, and the one before goes on. Ctrl-C ends it.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return tryPlugin(ctx, cmd.OutOrStdout(), folderOf(args), o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.to, "to", "", "URL of the service behind the plugin: http or https, with a path to serve what is below it")
	f.StringVar(&o.listen, "listen", "127.0.0.1:8080", "address to serve on")
	f.StringVar(&o.config, "config", "", "file with the plugin's configuration, a mapping in YAML or JSON")
	f.StringArrayVar(&o.egress, "egress", nil, "HOSTNAME, or *.DOMAIN, that the plugin may call; may be repeated")
	f.StringArrayVar(&o.services, "service", nil, "NAME=HOST:PORT, or NAME:PORT=HOST:PORT: a Service that the plugin may call, on this machine too; may be repeated")
	f.StringVar(&o.accessLog, "access-log", "off", "stdout, off, or a file to append to")
	f.StringVar(&o.admin, "admin", "127.0.0.1:0", "address of /metrics, /chains and /config, as 127.0.0.1:9901; port 0: one that is not told")
	if err := c.MarkFlagRequired("to"); err != nil {
		panic("BUG: " + err.Error())
	}
	return c
}

// workshop is a plugin that is worked on, and the proxy that serves it.
type workshop struct {
	out     io.Writer
	dir     string
	o       tryOptions
	place   *place
	scratch string // objects, layout and state
	name    oci.Reference
	proxy   *proxyProcess
	objects string // that were written last
	before  string // hash of the part of the chain as it was when they were written
	said    lastErrors
	broken  bool // the source did not build when it was last tried
}

// tryPlugin is penstock plugin run.
func tryPlugin(ctx context.Context, out io.Writer, dir string, o tryOptions) (err error) {
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	w := &workshop{out: out, dir: absolute, o: o}
	if w.place, err = placeOf(ctx, o); err != nil {
		return err
	}
	if w.name, err = oci.ParseReference("plugin.penstock.dev/run/" + repository(filepath.Base(absolute)) + ":1"); err != nil {
		return err
	}
	if w.scratch, err = os.MkdirTemp("", "penstock-run"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(w.scratch) }()
	if err := os.Mkdir(w.folder(), 0o700); err != nil {
		return err
	}
	seen := w.look()
	if _, err := w.build(ctx); err != nil {
		return err
	}
	ended, err := w.serve(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	if err := w.await(ctx, ended); err != nil {
		return err
	}
	return w.watch(ctx, seen, ended)
}

// folder is the one that the proxy reads.
func (w *workshop) folder() string { return filepath.Join(w.scratch, "objects") }

// repository is a folder's name as a repository may be called.
func repository(name string) string {
	name = strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, name), "-")
	if name == "" {
		return "plugin"
	}
	return name[:min(len(name), 60)]
}

// build compiles the plugin, puts it into the layout, and writes the objects that name it;
// changed says that they are others than before.
func (w *workshop) build(ctx context.Context) (changed bool, err error) {
	image, manifest, err := imageOf(ctx, w.dir, "")
	if err != nil {
		return false, err
	}
	digest, err := oci.WriteLayout(filepath.Join(w.scratch, "layout"), w.name, image.Module, manifest, image.Schema)
	if err != nil {
		return false, err
	}
	config := ""
	if w.o.config != "" {
		text, err := os.ReadFile(w.o.config) //nolint:gosec // the author's own file
		if err != nil {
			return false, err
		}
		var object string
		config, object = configMap(text)
		if err := w.write(config, object); err != nil {
			return false, err
		}
	}
	text := w.place.objects(w.name, digest, image.Manifest.Capabilities, config, w.o.egress)
	if text == w.objects {
		return false, nil
	}
	w.objects = text
	w.said.forget()
	if r := w.report(); r != nil {
		w.before = r.Hash
	}
	return true, w.write("objects", text)
}

// write puts a file into the folder that the proxy reads, as a whole.
func (w *workshop) write(name, text string) error {
	next := filepath.Join(w.scratch, "new")
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(w.folder(), name+".yaml"))
}

// serve starts the proxy; ended gets a value when it has ended.
func (w *workshop) serve(ctx context.Context) (ended chan error, err error) {
	var o options
	c := &cobra.Command{} // for what the flags' defaults are
	proxyFlags(c, &o)
	imageFlags(c, &o)
	o.config, o.images, o.state = w.folder(), []string{filepath.Join(w.scratch, "layout")}, filepath.Join(w.scratch, "state")
	o.bind, o.admin, o.accessLog, o.drain, o.logLevel = w.place.bind, w.o.admin, w.o.accessLog, 2*time.Second, "info"
	log, err := prepare(o)
	if err != nil {
		return nil, err
	}
	log = w.said.listen(log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return guestsOnly{c} })))
	if w.proxy, err = wire(o, log); err != nil {
		return nil, err
	}
	ended = make(chan error, 1)
	go func() {
		err := w.proxy.serve(ctx, o)
		w.proxy.close(o.drain)
		ended <- err
	}()
	return ended, nil
}

// guestsOnly lets through what plugins log, and errors: all else this command says
// itself.
type guestsOnly struct{ zapcore.Core }

// With implements zapcore.Core.
func (g guestsOnly) With(f []zapcore.Field) zapcore.Core { return guestsOnly{g.Core.With(f)} }

// Check implements zapcore.Core.
func (g guestsOnly) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.LoggerName != "guest" && e.Level < zapcore.ErrorLevel {
		return c
	}
	return g.Core.Check(e, c)
}

// unchanged is how long the proxy may run the same part after its objects have changed,
// until it is believed that the change makes no difference to it.
const unchanged = 3 * time.Second

// await waits until what was built last serves; the error is why it does not.
func (w *workshop) await(ctx context.Context, ended chan error) error {
	began := time.Now()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			ended <- nil // who waits for the end finds it
			if err == nil {
				err = errors.New("the proxy has ended")
			}
			return err
		case <-t.C:
		}
		r := w.report()
		if r == nil || r.Hash == w.before && time.Since(began) < unchanged {
			if err := w.problem(); err != nil && time.Since(began) > time.Second { // before, it may be that of the objects before
				return err
			}
			continue
		}
		if r.State == "Running" {
			fmt.Fprintf(w.out, "live on http://%s in front of %s, %v after it was built\n", w.o.listen, w.o.to, rounded(time.Since(began)))
			return nil
		}
		for _, f := range r.Filters {
			if f.State == string(plugin.Failed) {
				return fmt.Errorf("the plugin does not start: %s: %s", f.Reason, w.said.explain(r.Target, f.Name, f.Message))
			}
		}
		if r.Reason != "" {
			return fmt.Errorf("the plugin cannot be used: %s: %s", r.Reason, r.Message)
		}
	}
}

// problem is what is wrong with the objects.
func (w *workshop) problem() error {
	for _, p := range w.proxy.problems() {
		if p.Severity == "error" {
			return fmt.Errorf("the plugin cannot be used: %s: %s", p.Reason, p.Message)
		}
	}
	return nil
}

// report is what the proxy says of the Service's part of the chain; nil: nothing yet.
func (w *workshop) report() *snapshot.Report {
	if w.proxy == nil {
		return nil
	}
	for _, r := range w.proxy.store.Reports() {
		if r.Target == "Service/default/plugin" {
			return &r
		}
	}
	return nil
}

// Between two looks at the source; it has changed when it has been still for one.
const looks = 200 * time.Millisecond

// watch builds the plugin anew when its source changes, until ctx is done.
func (w *workshop) watch(ctx context.Context, seen string, ended chan error) error {
	t := time.NewTicker(looks)
	defer t.Stop()
	for pending := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			ended <- nil
			return err
		case <-t.C:
		}
		if now := w.look(); now != seen {
			seen, pending = now, true
			continue
		}
		if !pending {
			continue
		}
		pending = false
		if err := w.again(ctx, ended); err != nil && ctx.Err() == nil {
			fmt.Fprintf(w.out, "not live, the one before goes on: %v\n", err)
		}
	}
}

// again builds the plugin anew, and has it take over.
func (w *workshop) again(ctx context.Context, ended chan error) error {
	changed, err := w.build(ctx)
	mended := err == nil && !changed && w.broken
	w.broken = err != nil
	if mended {
		fmt.Fprintln(w.out, "builds again; what runs is the same")
	}
	if err != nil || !changed {
		return err
	}
	return w.await(ctx, ended)
}
