package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"penstock.dev/penstock/author/cases"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
	"penstock.dev/penstock/core/sandbox"
	"penstock.dev/penstock/core/telemetry"
)

// registry is a client of registries for one command, with the logins that Docker keeps.
type registry struct {
	*oci.Store
	ref oci.Reference
	req oci.Request
}

// withRegistry calls do for an image's name; nothing is kept afterwards.
func withRegistry(ctx context.Context, o options, name string, do func(*registry) error) error {
	ref, err := oci.ParseReference(name)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "penstock-registry")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	o.state = scratch
	store, err := openImages(o, zap.NewNop(), func() []string { return nil })
	if err != nil {
		return err
	}
	logins, err := oci.DockerCredential(ctx, ref.Registry)
	if err != nil {
		return err
	}
	err = do(&registry{store, ref, oci.Request{Reference: ref.String(), Namespace: "command", Credentials: logins}})
	if errors.Is(err, oci.ErrForbidden) && len(logins) == 0 {
		return fmt.Errorf("%s refuses who is not logged in: run docker login %s, or what your tool has for it (%w)", ref.Registry, ref.Registry, err)
	}
	return err
}

func pluginPushCommand() *cobra.Command {
	var o options
	var p pushOptions
	c := &cobra.Command{
		Use:   "push NAME [FOLDER]",
		Short: "Build a plugin and push it to a registry, with its manifest, schema and cases; NAME is registry/repository:tag",
		Long: "Build the plugin in a folder, and push it as an OCI image with its plugin.json, its schema.json, and its cases, which\n" +
			"have to pass here and on proxies before they use it. It prints the name with the digest, for an annotation. The logins are those of Docker's\n" +
			"configuration.",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return pushPlugin(cmd.Context(), cmd.OutOrStdout(), o, args[0], folderOf(args[1:]), p)
		},
	}
	registryFlags(c, &o)
	c.Flags().StringVar(&p.module, "module", "", "push this Wasm module, and build none")
	c.Flags().StringVar(&p.key, "key", "", "sign with this private key (PEM, PKCS #8), as cosign does")
	c.Flags().BoolVar(&p.noCases, "no-cases", false, "leave the cases out of the image")
	return c
}

// pushOptions are those of penstock plugin push.
type pushOptions struct {
	module, key string
	noCases     bool
}

func pushPlugin(ctx context.Context, out io.Writer, o options, name, dir string, p pushOptions) error {
	var key crypto.Signer
	if p.key != "" {
		var err error
		if key, err = readKey(p.key); err != nil {
			return err
		}
	}
	var files []string
	if !p.noCases {
		var err error
		if files, err = caseFiles(dir); err != nil {
			return err
		}
	}
	travel, err := readCases(files)
	if err != nil {
		return fmt.Errorf("%w (--no-cases leaves them out of the image)", err)
	}
	image, manifest, err := imageOf(ctx, dir, p.module)
	if err != nil {
		return err
	}
	if len(files) > 0 { // proxies refuse what fails them
		var said bytes.Buffer
		err := testImage(ctx, &said, image, files, testOptions{})
		if errors.Is(err, errReported) {
			fmt.Fprint(out, said.String())
			err = errors.New("the plugin fails its cases: nothing is pushed (--no-cases pushes without them)")
		}
		if err != nil {
			return err
		}
	}
	return withRegistry(ctx, o, name, func(r *registry) error {
		digest, err := r.Push(ctx, r.req, r.ref, image.Module, manifest, image.Schema, travel...)
		if err != nil {
			return err
		}
		if key != nil {
			if err := r.Sign(ctx, r.req, r.ref, digest, key); err != nil {
				return fmt.Errorf("%s@%s is pushed, but not signed: %w", r.ref.Name(), digest, err)
			}
		}
		fmt.Fprintf(out, "%s@%s\n", r.ref, digest)
		return nil
	})
}

// readKey reads a private key.
func readKey(file string) (crypto.Signer, error) {
	text, err := os.ReadFile(file) //nolint:gosec // whoever signs names it
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("%s: want a private key in PEM (PKCS #8, BEGIN PRIVATE KEY), without a password: openssl pkcs8 -topk8 -nocrypt writes one", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: a key of type %T signs nothing", file, key)
	}
	return signer, nil
}

func pluginSignCommand() *cobra.Command {
	var o options
	var keyFile string
	c := &cobra.Command{
		Use:   "sign NAME",
		Short: "Sign an image in a registry, as cosign does; NAME has a tag or a digest",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := readKey(keyFile)
			if err != nil {
				return err
			}
			return withRegistry(cmd.Context(), o, args[0], func(r *registry) error {
				digest := r.ref.Digest
				if digest == "" {
					if digest, err = r.Resolve(cmd.Context(), r.req); err != nil {
						return err
					}
				}
				if err := r.Sign(cmd.Context(), r.req, r.ref, digest, key); err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s@%s\n", r.ref.Name(), digest)
				return nil
			})
		},
	}
	registryFlags(c, &o)
	c.Flags().StringVar(&keyFile, "key", "", "private key (PEM, PKCS #8)")
	if err := c.MarkFlagRequired("key"); err != nil {
		panic("BUG: " + err.Error())
	}
	return c
}

func pluginVerifyCommand() *cobra.Command {
	var o options
	var keys []string
	c := &cobra.Command{
		Use:   "verify NAME",
		Short: "Say whether an image in a registry is signed with one of the keys, as a PluginPolicy would ask",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var trust config.Trust
			for _, file := range keys {
				text, err := os.ReadFile(file) //nolint:gosec // whoever verifies names it
				if err != nil {
					return err
				}
				if block, _ := pem.Decode(text); block == nil || block.Type != "PUBLIC KEY" {
					return fmt.Errorf("%s: want a public key in PEM (BEGIN PUBLIC KEY)", file)
				}
				trust.Keys = append(trust.Keys, string(text))
			}
			return withRegistry(cmd.Context(), o, args[0], func(r *registry) error {
				r.req.Trust = []config.Trust{trust}
				image, err := r.Get(cmd.Context(), r.req)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s@%s: signed\n", r.ref.Name(), image.Digest)
				return nil
			})
		},
	}
	registryFlags(c, &o)
	c.Flags().StringArrayVar(&keys, "key", nil, "public key (PEM); may be repeated")
	if err := c.MarkFlagRequired("key"); err != nil {
		panic("BUG: " + err.Error())
	}
	return c
}

// inspected is what penstock plugin inspect says.
type inspected struct {
	Image    string          `json:"image,omitempty"`
	Module   string          `json:"module"` // digest
	Bytes    int             `json:"bytes"`
	ABI      string          `json:"abi"`
	Version  string          `json:"version,omitempty"`
	Manifest oci.Manifest    `json:"manifest"`
	Schema   json.RawMessage `json:"schema,omitempty"`
	Imports  []string        `json:"imports"`
	Exports  []string        `json:"exports"`
}

func pluginInspectCommand() *cobra.Command {
	var o options
	var asJSON bool
	c := &cobra.Command{
		Use:   "inspect MODULE|NAME",
		Short: "Say what a Wasm module, or an image in a registry, is: its ABI, imports, exports, size, manifest and schema",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			found, err := inspectNamed(cmd.Context(), o, args[0])
			if err != nil {
				return err
			}
			if asJSON {
				e := json.NewEncoder(cmd.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(found)
			}
			found.write(cmd.OutOrStdout())
			return nil
		},
	}
	registryFlags(c, &o)
	c.Flags().BoolVar(&asJSON, "json", false, "write JSON, with the schema and the names of all imports and exports")
	return c
}

// inspectNamed says what a module's file, or an image, is.
func inspectNamed(ctx context.Context, o options, name string) (found *inspected, err error) {
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("%s is a folder: name its module, which penstock plugin build makes, or have penstock plugin show build it", name)
	case err != nil && strings.HasSuffix(name, ".wasm"):
		return nil, fmt.Errorf("%s: no such file; penstock plugin build makes it", name)
	case err == nil:
		image, _, err := imageOf(ctx, filepath.Dir(name), name)
		if err != nil {
			return nil, err
		}
		if found, err = inspect(ctx, image); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return found, nil
	}
	err = withRegistry(ctx, o, name, func(r *registry) error {
		image, err := r.Get(ctx, r.req)
		if err != nil {
			return err
		}
		if found, err = inspect(ctx, image); err == nil {
			found.Image = r.ref.Name() + "@" + image.Digest
		}
		return err
	})
	return found, err
}

// inspect loads a module as the proxy would, and says what it is.
func inspect(ctx context.Context, image *oci.Image) (*inspected, error) {
	scratch, err := os.MkdirTemp("", "penstock-plugin")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	compiler, err := compilerCommand()
	if err != nil {
		return nil, err
	}
	metrics := telemetry.New()
	engine, err := sandbox.New(sandbox.Options{Dir: compiledCases(scratch), Compiler: compiler}, zap.NewNop(), metrics)
	if err != nil {
		return nil, err
	}
	defer func() { _ = engine.Close() }()
	m, err := engine.Load(ctx, image.Module)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	i := &inspected{Module: m.Digest(), Bytes: len(image.Module), ABI: "unknown: neither Proxy-Wasm's version marker nor http-wasm's handlers are exported", Manifest: image.Manifest, Schema: image.Schema, Exports: m.Exports()}
	for _, abi := range caseABIs(cases.World{Log: zap.NewNop(), Metrics: metrics}) {
		if abi.Detect(m) {
			i.ABI = abi.Name()
		}
	}
	for _, name := range i.Exports {
		if version, ok := strings.CutPrefix(name, "proxy_abi_version_"); ok {
			i.Version = strings.ReplaceAll(version, "_", ".")
		}
	}
	for _, f := range m.Imports() {
		i.Imports = append(i.Imports, f.Module+"."+f.Name)
	}
	slices.Sort(i.Imports)
	return i, nil
}

func (i *inspected) write(out io.Writer) {
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(out, "%-13s %s\n", name, text)
		}
	}
	line("image", i.Image)
	line("module", fmt.Sprintf("%s, %d bytes", i.Module, i.Bytes))
	line("ABI", strings.TrimSpace(i.ABI+" "+i.Version))
	line("capabilities", strings.Join(i.Manifest.Capabilities, ", "))
	for _, say := range []struct {
		name string
		is   bool
	}{{"guard", i.Manifest.Guard}, {"multiConfig", i.Manifest.MultiConfig}, {"connections", i.Manifest.Connections}} {
		if say.is {
			line(say.name, "yes")
		}
	}
	schema := "none: its config is not checked before it starts"
	if len(i.Schema) > 0 {
		schema = fmt.Sprintf("%d bytes", len(i.Schema))
	}
	line("schema", schema)
	line("imports", strings.Join(i.Imports, ", "))
	line("exports", strings.Join(i.Exports, ", "))
}
