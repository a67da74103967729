package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/author/cases"
	"penstock.dev/penstock/author/scaffold"
	"penstock.dev/penstock/author/toolchain"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/plugin"
	"penstock.dev/penstock/hosts/capability/compress"
	"penstock.dev/penstock/hosts/capability/crypto"
	"penstock.dev/penstock/hosts/capability/kv"
	"penstock.dev/penstock/hosts/capability/ratelimit"
	"penstock.dev/penstock/hosts/httpwasm"
	"penstock.dev/penstock/hosts/proxywasm"
)

func pluginCommand() *cobra.Command {
	c := &cobra.Command{Use: "plugin", Short: "Write, build and test plugins"}
	c.AddCommand(pluginNewCommand(), pluginBuildCommand(), pluginTestCommand(), pluginRunCommand(), pluginBenchCommand(), pluginListCommand(), pluginShowCommand(), pluginInspectCommand(), pluginPushCommand(), pluginSignCommand(), pluginVerifyCommand())
	return c
}

// folderOf is the plugin's folder that a command is about.
func folderOf(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

func pluginNewCommand() *cobra.Command {
	var language string
	c := &cobra.Command{
		Use:   "new NAME",
		Short: "Make the folder of a new plugin, with its SDK, which builds and passes its cases",
		Long: "Make the folder of a new plugin, with its SDK, which builds and passes its cases. NAME is of lower-case letters, digits\n" +
			"and hyphens, and begins with a letter; a path to a folder that exists may stand before it.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := args[0]
			if parent := filepath.Dir(dir); !exists(parent) {
				return fmt.Errorf("%s: there is no folder %s: a plugin is made in one that exists, or in this one by its name alone (lower-case letters, digits and hyphens)", dir, parent)
			}
			if err := scaffold.New(dir, filepath.Base(dir), language); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: next, cd %s && penstock plugin test\n", dir, dir)
			return nil
		},
	}
	c.Flags().StringVar(&language, "lang", "go", "language: "+strings.Join(scaffold.Languages, ", "))
	return c
}

func pluginBuildCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "build [FOLDER]",
		Short: "Compile a plugin to " + moduleName + " in its folder",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := folderOf(args)
			if out == "" {
				out = filepath.Join(dir, moduleName)
			}
			if _, err := readSchema(filepath.Join(dir, "schema.json")); err != nil {
				return err
			}
			if err := buildPlugin(cmd.Context(), dir, out); err != nil {
				return err
			}
			info, err := os.Stat(out)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %d bytes\n", out, info.Size())
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "", "module to write, default "+moduleName+" in the folder")
	return c
}

func buildPlugin(ctx context.Context, dir, out string) error {
	l, err := toolchain.Detect(dir)
	if err != nil {
		return err
	}
	if err = l.Build(ctx, dir, out); err != nil && !errors.Is(err, toolchain.ErrMissing) {
		return fmt.Errorf("the plugin in %s does not build: %w", dir, err)
	}
	return err
}

// testOptions are those of penstock plugin test.
type testOptions struct {
	module string
	json   bool
	name   string
	// unwanted says that what the module exports is the author's own, so that a callback
	// which no case has the proxy make is a mistake.
	unwanted bool
}

func pluginTestCommand() *cobra.Command {
	var o testOptions
	c := &cobra.Command{
		Use:   "test [FOLDER] [CASES...]",
		Short: "Build a plugin and run its cases, those of cases.yaml and cases/*.yaml",
		Long: "Build a plugin and run its cases: files of YAML that say what goes in and what is to come out.\n" +
			"They run on the sandbox and the ABI hosts of the proxy, without a network, and with the time set by hand.",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, files := folderOf(args), []string(nil)
			if len(args) > 1 {
				files = args[1:]
			}
			return testPlugin(cmd.Context(), cmd.OutOrStdout(), dir, files, o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.module, "module", "", "test this Wasm module, and build none")
	f.StringVar(&o.name, "run", "", "run the case of this name only")
	f.BoolVar(&o.json, "json", false, "write one line of JSON for each case")
	return c
}

func testPlugin(ctx context.Context, out io.Writer, dir string, files []string, o testOptions) error {
	if len(files) == 0 {
		var err error
		if files, err = caseFiles(dir); err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s: neither cases.yaml nor cases/*.yaml is there", dir)
		}
		l, err := toolchain.Detect(dir)
		o.unwanted = err == nil && l.Name == "c" && o.name == "" // other SDKs export all there are
	}
	image, _, err := imageOf(ctx, dir, o.module)
	if err != nil {
		return err
	}
	return testImage(ctx, out, image, files, o)
}

// testImage runs the cases of these files.
func testImage(ctx context.Context, out io.Writer, image *oci.Image, files []string, o testOptions) error {
	scratch, err := os.MkdirTemp("", "penstock-plugin")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	compiler, err := compilerCommand()
	if err != nil {
		return err
	}
	bed, err := cases.New(cases.Options{Plugin: image, CacheDir: compiledCases(scratch), Compiler: compiler, ABIs: caseABIs})
	if err != nil {
		return err
	}
	defer func() { _ = bed.Close() }()
	return runCases(ctx, out, bed, files, o)
}

// compiledCases is where the modules of cases are compiled to, so that each is compiled
// once.
func compiledCases(scratch string) string {
	if dir, err := os.UserCacheDir(); err == nil {
		if dir = filepath.Join(dir, "penstock"); os.MkdirAll(dir, 0o700) == nil {
			return filepath.Join(dir, "compiled")
		}
	}
	return filepath.Join(scratch, "compiled")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// caseABIs are the hosts that cases run on: those of the proxy.
func caseABIs(w cases.World) []plugin.ABI {
	o := proxywasm.Options{Log: w.Log, Metrics: w.Metrics, HTTP: w.HTTP, GRPC: w.GRPC, Cache: w.Cache, Redis: w.Redis, Consumers: w.Consumers, Passwords: casePasswords{}, Recoder: compress.New(caseRecoding, w.Metrics), Clock: w.Clock, NodeID: "case"}
	if w.Clock != nil { // else only what a module exports is asked for
		o.Rates = w.Rates(ratelimit.New(ratelimit.Options{Now: w.Clock.Now, Alone: true}))
		o.KV = kv.New(kv.Options{Now: w.Clock.Now})
	}
	return []plugin.ABI{
		proxyWasm{proxywasm.New(o)},
		httpWasm{httpwasm.New(w.Log, w.Metrics)},
	}
}

// caseRecoding is the memory of encoders and decoders in cases, in bytes.
const caseRecoding = 256 << 20

// casePasswords checks passwords while the time of a case stands still.
type casePasswords struct{}

// Check implements capability.PasswordChecker.
func (casePasswords) Check(_ string, hash, password []byte, _ func(bool)) (right, now bool, cancel func(), err error) {
	right, err = crypto.CheckPassword(hash, password)
	return right, true, nil, err
}

func runCases(ctx context.Context, out io.Writer, bed *cases.Bed, files []string, o testOptions) error {
	ran, failed := 0, 0
	var names []string
	began := time.Now()
	for _, path := range files {
		text, err := os.ReadFile(path) //nolint:gosec // the author's own file
		if err != nil {
			return err
		}
		file, err := cases.Parse(path, text)
		if err != nil {
			return err
		}
		for i := range file.Cases {
			if o.name != "" && file.Cases[i].Name != o.name {
				names = append(names, file.Cases[i].Name)
				continue
			}
			r, err := bed.Run(ctx, file, &file.Cases[i])
			if err != nil {
				return fmt.Errorf("%s: case %q: %w", path, file.Cases[i].Name, err)
			}
			ran++
			if len(r.Faults) > 0 {
				failed++
			}
			if err := report(out, path, &r, o.json); err != nil {
				return err
			}
		}
	}
	if ran == 0 {
		return noCase(o.name, names)
	}
	if o.unwanted && !o.json {
		if err := warnOfUnwanted(ctx, out, bed); err != nil {
			return err
		}
	}
	if !o.json {
		fmt.Fprintf(out, "%d cases, %d failed, in %v\n", ran, failed, time.Since(began).Round(time.Millisecond))
	}
	if failed > 0 {
		return errReported
	}
	return nil
}

// noCase says that there is no case of a name, and what there is.
func noCase(name string, names []string) error {
	const most = 30
	more := ""
	if n := len(names); n > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", n-most)
	}
	return fmt.Errorf("no case is called %q: there are %q%s", name, names, more)
}

// warnOfUnwanted says which callbacks were forgotten in ps_only.
func warnOfUnwanted(ctx context.Context, out io.Writer, bed *cases.Bed) error {
	names, err := bed.Unwanted(ctx)
	for _, name := range names {
		fmt.Fprintf(out, "warning: %s is exported, but in no case did the plugin want it: ps_only leaves out %s\n", name, strings.ToUpper(strings.Replace(name, "proxy", "ps", 1)))
	}
	return err
}

func report(out io.Writer, path string, r *cases.Result, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(struct {
			File string `json:"file"`
			*cases.Result
		}{path, r})
	}
	if len(r.Faults) == 0 {
		fmt.Fprintf(out, "ok    %s (%v)\n", r.Name, r.Took.Round(time.Millisecond))
		return nil
	}
	fmt.Fprintf(out, "FAIL  %s (%s)\n", r.Name, path)
	for _, f := range r.Faults {
		fmt.Fprintf(out, "      %s\n", f)
	}
	for _, l := range r.Logs {
		fmt.Fprintf(out, "      log   %s\n", l)
	}
	return nil
}
