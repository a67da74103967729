package translate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/translate"
)

// inNamespace is a Service with its route, in a namespace.
func inNamespace(name, namespace, more string) string {
	text := strings.ReplaceAll(service(name, "[]", more), "  name: "+name+"\n", "  name: "+name+"\n  namespace: "+namespace+"\n")
	text = strings.ReplaceAll(text, "metadata: {name: "+name+"}", "metadata: {name: "+name+", namespace: "+namespace+"}")
	return strings.ReplaceAll(text, "parentRefs: [{name: edge}]", "parentRefs: [{name: edge, namespace: default}]")
}

// shut returns which Services nothing is sent to, and why: by their policy of TLS,
// or by a part of their chain.
func shut(c *config.Config) (names string, why string) {
	var all []string
	for _, entry := range c.Gateways[0].Listeners[0].Routes.Entries {
		b := entry.Route.Rules[0].Backends[0]
		reason := ""
		if u := c.Upstreams[b.Upstream]; u.TLS != nil {
			reason = u.TLS.Fault
		}
		for _, chain := range []*config.Chain{c.Gateways[0].Listeners[0].Chain, b.Chain} {
			for i := 0; chain != nil && i < len(chain.Parts); i++ {
				if fault := chain.Parts[i].Fault; fault != nil {
					reason = fault.Message
				}
			}
		}
		if reason != "" {
			all, why = append(all, b.Service), reason
		}
	}
	return strings.Join(all, " "), why
}

func TestUnread(t *testing.T) {
	const head = "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: p}\n"
	good := head + "spec: {targetRefs: [{group: \"\", kind: Service, name: a}], validation: {hostname: a.example, wellKnownCACertificates: System}}\n"
	const everything = "default/a default/b other/c"
	const plugins = "apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: q}\n"
	tests := map[string]struct{ text, shut, why string }{
		"a field of a wrong type":        {strings.Replace(good, "hostname: a.example", "hostname: 1", 1), "default/a", "BackendTLSPolicy/default/p cannot be read"},
		"an unknown field":               {strings.Replace(good, "validation:", "validations:", 1), "default/a", "BackendTLSPolicy/default/p"},
		"no name of its own":             {strings.Replace(good, "{name: p}", "{}", 1), "default/a", "a BackendTLSPolicy in x.yaml:1 cannot be read"},
		"a target without a name":        {strings.Replace(good, "name: a}", "nome: a}", 1), "default/a default/b", "BackendTLSPolicy/default/p"},
		"one target of two":              {strings.Replace(good, "name: a}", "name: a}, {group: \"\", kind: Service, name: [b]}", 1), "default/a default/b", ""},
		"targets of an older version":    {strings.Replace(good, "targetRefs: [{group: \"\", kind: Service, name: a}]", "targetRef: {kind: Service, name: a}", 1), "default/a default/b", ""},
		"another namespace":              {strings.Replace(strings.Replace(good, "{name: p}", "{name: p, namespace: other}", 1), "targetRefs", "targets", 1), "other/c", "BackendTLSPolicy/other/p"},
		"no namespace":                   {strings.Replace(good, "{name: p}", "{name: p, namespace: 'A.b'}", 1), everything, ""},
		"a namespace that is a number":   {strings.Replace(good, "{name: p}", "{name: p, namespace: 1}", 1), everything, ""},
		"metadata that is a list":        {strings.Replace(good, "{name: p}", "[p]", 1), everything, ""},
		"labels of a wrong type":         {strings.Replace(good, "{name: p}", "{name: p, labels: {a: 1}}", 1), "default/a", ""},
		"no apiVersion":                  {good[strings.Index(good, "kind"):], "default/a", ""},
		"a misspelt namespace":           {strings.Replace(good, "{name: p}", "{name: p, namespcae: other}", 1), everything, ""},
		"no kind":                        {strings.Replace(good, "kind: BackendTLSPolicy\n", "", 1), "default/a", ""},
		"another version":                {strings.Replace(good, "k8s.io/v1", "k8s.io/v1alpha2", 1), "default/a", ""},
		"within a List":                  {"apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.Replace(good, "a.example", "{}", 1), "\n", "\n  "), "default/a", ""},
		"a field twice":                  {good + "spec: {}\n", everything, "a BackendTLSPolicy in x.yaml:1"},
		"no YAML":                        {head + "spec: {targetRefs: [", everything, "a BackendTLSPolicy in x.yaml:1"},
		"no YAML, written as JSON":       {`{"kind": "BackendTLSPolicy", "spec": {`, everything, ""},
		"no YAML, of another kind":       {"kind: HTTPRoute\n# not a BackendTLSPolicy\nspec: [", "", ""},
		"YAML that is no object":         {"image: {tag: 1}\nkinds: [BackendTLSPolicy]", "", ""},
		"another object of that Service": {good + "---\n" + strings.Replace(strings.Replace(good, "name: p", "name: z", 1), "hostname", "hostnames", 1), "default/a", "BackendTLSPolicy/default/z"},
		"what has a good one keeps it":   {good + "---\n" + strings.Replace(strings.Replace(good, "name: p", "name: z", 1), "targetRefs", "targets", 1), "default/b", "BackendTLSPolicy/default/z"},
		"too much of it":                 {"#" + strings.Repeat("x", 4<<20), everything, "x.yaml cannot be read"},
		"too many documents":             {strings.Repeat("---\na\n", 10_001), everything, "x.yaml cannot be read"},

		"a PluginPolicy":                     {plugins + "spec: {namespaceSelector: {}, require: key-auth}", everything, "PluginPolicy/q cannot be read"},
		"a PluginPolicy without selector":    {plugins + "spec: {selector: {}}", everything, ""},
		"a PluginPolicy, misspelt kind":      {strings.Replace(plugins, "kind:", "Kind:", 1) + "spec: {namespaceSelector: {}}", everything, ""},
		"a PluginPolicy, kind without colon": {strings.Replace(plugins, "kind:", "kind", 1) + "spec: {namespaceSelector: {}}", everything, ""},
		"a PluginPolicyList":                 {"apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicyList\nitems: []", everything, ""},
		"a PluginPolicy behind three dots":   {"# first\n...\n" + plugins + "spec: {selector: {}}", everything, ""},
		"a PluginPolicy with old line ends":  {strings.ReplaceAll("# first\n---\n"+plugins+"spec: {selector: {}}", "\n", "\r"), everything, ""},
		"a PluginPolicy for a namespace":     {plugins + "spec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}, require: key-auth}", "other/c", ""},
		"a PluginPolicy of another selector": {plugins + "spec: {namespaceSelector: {matchLabel: {kubernetes.io/metadata.name: other}}}", everything, ""},
		"a PluginPolicy of another version":  {strings.Replace(plugins, "v1alpha1", "v1", 1) + "spec: {namespaceSelector: {}}", everything, ""},
		"a Namespace that policies may select": {plugins + "spec: {namespaceSelector: {matchLabels: {tier: prod}}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {tier: 1}}",
			"other/c", "Namespace/other cannot be read: whether PluginPolicy/q selects the namespace"},
		"a Namespace of another version": {plugins + "spec: {namespaceSelector: {matchLabels: {tier: prod}}}\n---\napiVersion: core/v1\nkind: Namespace\nmetadata: {name: other}",
			"other/c", "Namespace/other cannot be read"},
		"a Namespace that they select anyhow": {plugins + "spec: {namespaceSelector: {}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other, labels: {tier: 1}}", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{
				"gateway.yaml": strings.Replace(gatewayText, "port: 80}", "port: 80, allowedRoutes: {namespaces: {from: All}}}", 1),
				"x.yaml":       tt.text, "a.yaml": inNamespace("a", "default", ""), "b.yaml": inNamespace("b", "default", ""), "c.yaml": inNamespace("c", "other", ""),
			} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c, problems := load(t, dir, translate.New(options()))
			if err := c.Validate(); err != nil {
				t.Error(err)
			}
			if got, why := shut(c); got != tt.shut || !strings.Contains(why, tt.why) {
				t.Errorf("got %q shut, %q; want %q, %q; problems %v", got, why, tt.shut, tt.why, problems)
			}
		})
	}
}

// TestUnreadParts: what a filter names and cannot be read is not the same as what
// is not there.
func TestUnreadParts(t *testing.T) {
	optional := func(ref, name string) string {
		return `[{use: transform, configFrom: [{` + ref + `: {name: ` + name + `, key: k, optional: true}}]}]`
	}
	tests := map[string]struct{ text, plugins, want string }{
		"a Plugin in a bundled one's place": {"apiVersion: penstock.dev/v1alpha1\nkind: Plugin\nmetadata: {name: key-auth}\nspec: {guard: 1}", "[key-auth]",
			"UnknownPlugin: Service/default/s: [0] (key-auth): Plugin/key-auth cannot be read"},
		"a Secret that need not be there": {"apiVersion: v1\nkind: Secret\nmetadata: {name: deny}\ndata: 1", optional("secretKeyRef", "deny"),
			"SecretMissing: Service/default/s: [0] (transform): configFrom[0].secretKeyRef: Secret/default/deny cannot be read"},
		"a ConfigMap that need not be there": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: deny}\ndata: {k: 1}", optional("configMapKeyRef", "deny"),
			"InvalidConfig: Service/default/s: [0] (transform): configFrom[0].configMapKeyRef: ConfigMap/default/deny cannot be read"},
		"another ConfigMap": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\ndata: {k: 1}", optional("configMapKeyRef", "deny"), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			f.write("x.yaml", tt.text)
			f.write("s.yaml", service("s", tt.plugins, ""))
			c, problems := load(t, f.dir, f.tr)
			if got := firstFault(c); got != tt.want {
				t.Errorf("got %q; want %q; problems %v", got, tt.want, problems)
			}
		})
	}
}
