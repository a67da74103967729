package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/core/admin"
	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
	"penstock.dev/penstock/k8s/files"
	"penstock.dev/penstock/k8s/translate"
)

// Names by which others refer to this installation.
const (
	controllerName   = "penstock.dev/gateway-controller"
	installNamespace = "penstock-system"
)

// bundled is the catalogue that travels with the binary.
func bundled() []translate.Bundled {
	return []translate.Bundled{
		{Name: "acl", Major: "1", Image: "penstock.dev/plugins/acl:1", Guard: true},
		{Name: "authz", Major: "1", Image: "penstock.dev/plugins/authz:1", Guard: true},
		{Name: "basic-auth", Major: "1", Image: "penstock.dev/plugins/basic-auth:1", Guard: true, Identifies: true},
		{Name: "bot-detect", Major: "1", Image: "penstock.dev/plugins/bot-detect:1"},
		{Name: "cache-rules", Major: "1", Image: "penstock.dev/plugins/cache-rules:1"},
		{Name: "canary", Major: "1", Image: "penstock.dev/plugins/canary:1"},
		{Name: "compress", Major: "1", Image: "penstock.dev/plugins/compress:1"},
		{Name: "cors", Major: "1", Image: "penstock.dev/plugins/cors:1"},
		{Name: "csrf", Major: "1", Image: "penstock.dev/plugins/csrf:1", Guard: true},
		{Name: "decompress", Major: "1", Image: "penstock.dev/plugins/decompress:1", Guard: true},
		{Name: "ext-authz", Major: "1", Image: "penstock.dev/plugins/ext-authz:1", Guard: true, Calls: true, Identifies: true},
		{Name: "ip-restriction", Major: "1", Image: "penstock.dev/plugins/ip-restriction:1", Guard: true},
		{Name: "jwt", Major: "1", Image: "penstock.dev/plugins/jwt:1", Guard: true, Calls: true, Identifies: true},
		{Name: "key-auth", Major: "1", Image: "penstock.dev/plugins/key-auth:1", Guard: true, Identifies: true},
		{Name: "mtls-auth", Major: "1", Image: "penstock.dev/plugins/mtls-auth:1", Guard: true, Identifies: true},
		{Name: "mock", Major: "1", Image: "penstock.dev/plugins/mock:1"},
		{Name: "oidc", Major: "1", Image: "penstock.dev/plugins/oidc:1", Guard: true, Calls: true, Identifies: true},
		{Name: "rate-limit", Major: "1", Image: "penstock.dev/plugins/rate-limit:1", Guard: true},
		{Name: "redirect", Major: "1", Image: "penstock.dev/plugins/redirect:1"},
		{Name: "request-id", Major: "1", Image: "penstock.dev/plugins/request-id:1"},
		{Name: "request-size-limit", Major: "1", Image: "penstock.dev/plugins/request-size-limit:1"},
		{Name: "security-headers", Major: "1", Image: "penstock.dev/plugins/security-headers:1"},
		{Name: "transform", Major: "1", Image: "penstock.dev/plugins/transform:1"},
		{
			Name: "waf", Major: "1", Image: "penstock.dev/plugins/waf:1", Guard: true,
			Limits: &api.Limits{CPUTime: "1s", CPUTimeExchange: "3s", CPUTimeStart: "30s", Memory: "128Mi"},
		},
	}
}

func newTranslator(ran func(string) bool) *translate.Translator {
	return translate.New(translatorOptions(ran))
}

// translatorOptions are those for a folder of files.
func translatorOptions(ran func(string) bool) translate.Options {
	p := config.DefaultProxyParameters()
	p.SessionKeys = [][]byte{make([]byte, 32)} // until ProxyParameters name others
	_, _ = rand.Read(p.SessionKeys[0])
	return translate.Options{
		ControllerName: controllerName, InstallNamespace: installNamespace,
		Bundled: bundled(), Parameters: p, Ran: ran, Now: time.Now,
	}
}

func checkCommand() *cobra.Command {
	var o options
	var noPlugins, status bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "check DIR",
		Short: "Say every problem of a folder of manifests and of its plugins; exit 1 if there is one",
		Long: `Say every problem of a folder of manifests; exit 1 if there is one that is no
warning. Each plugin that can be reached is compiled, started and configured
as penstock run would; what plugins log at level warn or above goes to stderr.
Of each Service whose responses are cached it says by what rules.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			checked, err := files.Check(args[0], newTranslator(nil))
			if err != nil {
				return err
			}
			list := checked.Problems
			if !noPlugins {
				ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
				defer stop()
				more, err := checkPlugins(ctx, o, checked, timeout)
				if err != nil {
					return fmt.Errorf("plugins cannot be checked (--no-plugins leaves them out): %w", err)
				}
				list = append(list, more...)
			}
			if status {
				if err := translate.WriteStatus(cmd.OutOrStdout(), checked.Status); err != nil {
					return err
				}
				return tell(cmd.ErrOrStderr(), list)
			}
			tellCaches(cmd.OutOrStdout(), checked.Config)
			return tell(cmd.OutOrStdout(), list)
		},
	}
	imageFlags(c, &o)
	f := c.Flags()
	f.StringVar(&o.logLevel, "log-level", "warn", "of what plugins log: debug, info, warn or error")
	f.BoolVar(&noPlugins, "no-plugins", false, "read the manifests only: pull, compile and start nothing")
	f.BoolVar(&status, "status", false, "write the status that a cluster would show of each object, as YAML; the problems go to stderr")
	f.DurationVar(&timeout, "timeout", 5*time.Minute, "how long pulling, compiling and starting one plugin may take")
	return c
}

// tell writes a line for each problem; the error says that one is no warning.
func tell(w io.Writer, list []translate.Problem) error {
	failed := false
	for _, p := range list {
		severity := "error"
		if p.Warning {
			severity = "warning"
		}
		failed = failed || !p.Warning
		text := p.Message
		if p.Object.Kind != "" {
			text = p.String()
		}
		fmt.Fprintf(w, "%s: %s: %s\n", p.File, severity, text)
	}
	if failed {
		return errReported
	}
	fmt.Fprintln(w, "no errors")
	return nil
}

// problems gives the admin API the source's problems.
func problems(list []translate.Problem) []admin.Problem {
	out := []admin.Problem{}
	for _, p := range list {
		severity := "error"
		if p.Warning {
			severity = "warning"
		}
		object := ""
		if p.Object.Kind != "" {
			object = p.Object.String()
		}
		out = append(out, admin.Problem{File: p.File, Object: object, Namespace: p.Object.Namespace, Field: p.Field, Reason: p.Reason, Message: p.Message, Severity: severity})
	}
	return out
}
