package translate_test

import (
	"fmt"
	"strings"
	"testing"

	"penstock.dev/penstock/core/config"
)

// policyText is a PluginPolicy for all namespaces.
func policyText(name, spec string) string {
	return fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: PluginPolicy\nmetadata: {name: %s}\nspec: {namespaceSelector: {}, %s}\n---\n", name, spec)
}

func pluginText(name, spec string) string {
	return fmt.Sprintf("apiVersion: penstock.dev/v1alpha1\nkind: Plugin\nmetadata: {name: %s}\nspec: {%s}\n---\n", name, spec)
}

// firstFault returns the first fault of what runs for the Service: of the
// Gateway's parts, then of the Service's chain; "" if all of it can run.
func firstFault(c *config.Config) string {
	l := c.Gateways[0].Listeners[0]
	var parts []*config.Part
	if l.Chain != nil {
		parts = append(parts, l.Chain.Parts...)
	}
	if chain := l.Routes.Entries[0].Route.Rules[0].Backends[0].Chain; chain != nil {
		parts = append(parts, chain.Parts...)
	}
	for _, p := range parts {
		if p.Fault != nil {
			return p.Fault.Reason + ": " + p.Fault.Message
		}
	}
	return ""
}

const (
	digestA = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	digestB = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
	anyOf   = "images: [{prefix: r.example, unsigned: true, allowTags: true}]"
)

// TestRefusals: what PluginPolicy and Plugin say no to, each with its text. An
// empty want is what the same policy admits.
func TestRefusals(t *testing.T) {
	prices := pluginText("prices", `versions: [{name: "1", image: "r.example/prices:1"}, {name: "2", image: "r.example/prices:2"}], defaultVersion: "2"`)
	tests := map[string]struct {
		objects, plugins string
		want             string
	}{
		// overrides
		"an override that is unknown": {policyText("p", "overrides: {before: [{use: nobody}]}"), "[]",
			`UnknownPlugin: PluginPolicy/p: [0] (nobody): the catalogue has no "nobody": penstock plugin list shows what is bundled, and Plugin objects add to it`},
		"an override with a mistake": {policyText("p", "overrides: {after: [{use: transform, ports: [http]}]}"), "[]",
			"RefusedByPolicy: PluginPolicy p cannot be applied: spec.overrides.after: [0].ports: only allowed on a Service"},
		"two overrides of one name": {policyText("p", "overrides: {before: [{use: transform}, {use: transform}]}"), "[]",
			`RefusedByPolicy: PluginPolicy p cannot be applied: spec.overrides.before: [1].name: "transform" is the name of [0] too: give one of them another name`},
		"a guard as override that skips": {policyText("p", "overrides: {before: [{use: key-auth, onError: skip}]}"), "[]",
			"InvalidConfig: PluginPolicy/p: [0] (key-auth): onError: skip is refused for a guard: remove it"},
		"an override's Secret that is missing": {policyText("p", "overrides: {before: [{use: transform, configFrom: [{secretKeyRef: {name: a, key: b}}]}]}"), "[]",
			"SecretMissing: PluginPolicy/p: [0] (transform): configFrom[0].secretKeyRef: there is no Secret a with the key b in namespace penstock-system"},
		"an override needs no image rule": {policyText("p", "overrides: {before: [{image: 'r.example/any:1'}]}"), "[]", ""},
		"an override above its own policy's maxima": {policyText("p", "overrides: {before: [{use: transform, limits: {cpuTime: 20ms}}]}, limits: {maxima: {cpuTime: 10ms}}"), "[]",
			"RefusedByPolicy: PluginPolicy/p: [0] (transform): limits.cpuTime: 20ms is above the maximum 10ms of PluginPolicy p: lower it"},

		// defaults.plugins have a golden file; what is wrong with them:
		"defaults with a mistake": {policyText("p", "defaults: {plugins: [{use: transform, onError: maybe}]}"), "[]",
			`RefusedByPolicy: PluginPolicy p cannot be applied: spec.defaults.plugins: [0].onError: "maybe" is neither reject nor skip`},

		// require
		"a guard that is required": {policyText("p", "require: [key-auth]"), "[transform]",
			`GuardMissing: Service/default/s: PluginPolicy p requires the guard "key-auth": add "- use: key-auth"`},
		"a guard that nobody knows": {policyText("p", "require: [nobody]"), "[key-auth]",
			`GuardMissing: Service/default/s: PluginPolicy p requires the guard "nobody": add "- use: nobody"`},
		"a Plugin that is no guard": {policyText("p", "require: [prices]") + prices, "[prices]",
			`GuardMissing: Service/default/s: PluginPolicy p requires the guard "prices": add "- use: prices"`},
		"another filter of its name": {policyText("p", "require: [key-auth]"), "[{use: transform, name: key-auth}]",
			`GuardMissing: Service/default/s: PluginPolicy p requires the guard "key-auth": add "- use: key-auth"`},
		"what two policies require": {policyText("a", "require: [key-auth]") + policyText("b", "require: [waf]") + pluginText("waf", `guard: true, versions: [{name: "1", image: "r.example/waf:1"}]`), "[key-auth]",
			`GuardMissing: Service/default/s: PluginPolicy b requires the guard "waf": add "- use: waf"`},
		"a required guard that is there":      {policyText("p", "require: [key-auth]"), "[key-auth]", ""},
		"a required guard among overrides":    {policyText("p", "require: [key-auth], overrides: {before: [{use: key-auth}]}"), "[transform]", ""},
		"a required guard that skips nothing": {policyText("p", "require: [key-auth]"), "[{use: key-auth, onError: skip}]", "InvalidConfig: Service/default/s: [0] (key-auth): onError: skip is refused for a guard: remove it"},

		// images
		"an image without any policy": {"", "[{image: 'r.example/a:1'}]",
			"RefusedByPolicy: Service/default/s: [0] (a): no PluginPolicy selects this namespace, so that only catalogue entries run: write use: in place of image:, or ask for a policy"},
		"a namespace that no policy selects": {strings.Replace(policyText("p", anyOf), "namespaceSelector: {}", "namespaceSelector: {matchLabels: {a: b}}", 1), "[{image: 'r.example/a:1'}]",
			"RefusedByPolicy: Service/default/s: [0] (a): no PluginPolicy selects this namespace, so that only catalogue entries run: write use: in place of image:, or ask for a policy"},
		"an image that no rule is about": {policyText("p", anyOf), "[{image: 'r.example.org/a:1'}]",
			"RefusedByPolicy: Service/default/s: [0] (a): no rule of a PluginPolicy admits images under r.example.org/a"},
		"a prefix that is no segment": {policyText("p", "images: [{prefix: r.example/shop, unsigned: true, allowTags: true}]"), "[{image: 'r.example/shopping/a:1'}]",
			"RefusedByPolicy: Service/default/s: [0] (a): no rule of a PluginPolicy admits images under r.example/shopping/a"},
		"a tag where a digest is wanted": {policyText("p", "images: [{prefix: r.example, unsigned: true}]"), "[{image: 'r.example/a:1'}]",
			"RefusedByPolicy: Service/default/s: [0] (a): PluginPolicy p wants a digest: write r.example/a@sha256:<digest>"},
		"one of two policies wants a digest": {policyText("a", anyOf) + policyText("b", "images: [{prefix: r.example/a, unsigned: true}]"), "[{image: 'r.example/a:1'}]",
			"RefusedByPolicy: Service/default/s: [0] (a): PluginPolicy b wants a digest: write r.example/a@sha256:<digest>"},
		"a rule that admits nothing": {policyText("p", anyOf[:len(anyOf)-1]+", {prefix: r.example/a}]"), "[{image: 'r.example/a:1'}]",
			"RefusedByPolicy: Service/default/s: [0] (a): PluginPolicy p has a rule for r.example/a that admits nothing"},
		"a rule with both": {policyText("p", "images: [{prefix: r.example, unsigned: true, signedBy: [{publicKey: x}]}]"), "[]",
			"RefusedByPolicy: PluginPolicy p cannot be applied: spec.images[0]: both signedBy and unsigned: want one"},
		"a key that is none": {policyText("p", "images: [{prefix: r.example, signedBy: [{publicKey: x}]}]"), "[]",
			"RefusedByPolicy: PluginPolicy p cannot be applied: spec.images[0].signedBy[0].publicKey: want one public key in PEM"},
		"a prefix that is malformed": {policyText("p", "images: [{prefix: r.example/, unsigned: true}]"), "[]",
			`RefusedByPolicy: PluginPolicy p cannot be applied: spec.images[0].prefix: "r.example/": want registry[/path] in lower case, without a slash at its end`},
		"an image that a rule admits": {policyText("p", anyOf), "[{image: 'r.example/a:1'}]", ""},

		// deniedDigests
		"a digest that is denied": {policyText("p", anyOf+", deniedDigests: ['"+digestA+"']"), "[{image: 'r.example/a@" + digestA + "'}]",
			"RefusedByPolicy: Service/default/s: [0] (a): PluginPolicy p denies digest " + digestA},
		"a digest that the other policy denies": {policyText("a", anyOf) + policyText("b", "deniedDigests: ['"+digestA+"']"), "[{image: 'r.example/a:1@" + digestA + "'}]",
			"RefusedByPolicy: Service/default/s: [0] (a): PluginPolicy b denies digest " + digestA},
		"a denied digest that is none": {policyText("p", "deniedDigests: ['sha256:AA']"), "[]",
			`RefusedByPolicy: PluginPolicy p cannot be applied: spec.deniedDigests[0]: "sha256:AA": want sha256: and 64 hexadecimal digits in lower case`},
		"another digest": {policyText("p", anyOf+", deniedDigests: ['"+digestA+"']"), "[{image: 'r.example/a@" + digestB + "'}]", ""},

		// capabilities and egress
		"a capability that there is not": {policyText("p", "capabilities: [kv, comsumer]"), "[]",
			`RefusedByPolicy: PluginPolicy p cannot be applied: spec: capabilities[1]: "comsumer" is none of cache, compress, consumer, crypto, http-call, kv, ratelimit, redis`},
		"a Plugin's capability that there is not": {pluginText("x", `versions: [{name: "1", image: "r.example/x:1"}], capabilities: [all]`), "[x]",
			`UnknownPlugin: Service/default/s: [0] (x): Plugin x: spec.capabilities[0]: "all" is none of cache, compress, consumer, crypto, http-call, kv, ratelimit, redis`},
		"a Plugin's guard that skips": {pluginText("x", `versions: [{name: "1", image: "r.example/x:1"}], guard: true`), "[{use: x, onError: skip}]",
			"InvalidConfig: Service/default/s: [0] (x): onError: skip is refused for a guard: remove it"},
		"a consumer's filter that skips": {pluginText("x", `versions: [{name: "1", image: "r.example/x:1"}], capabilities: [consumer], onError: skip`), "[x]",
			"InvalidConfig: Service/default/s: [0] (x): onError: skip is refused for a guard: remove it"},
		"an address as egress": {policyText("p", "egress: [{hostname: 'https://a.example'}]"), "[]",
			`RefusedByPolicy: PluginPolicy p cannot be applied: spec: egress[0].hostname: "https://a.example": want a DNS name in lower case, or *.domain`},
		"a port that is none": {policyText("p", "egress: [{hostname: a.example, ports: [0]}]"), "[]",
			"RefusedByPolicy: PluginPolicy p cannot be applied: spec: egress[0].ports[0]: 0: want 1 to 65535"},
		"a name of authorities that is none": {policyText("p", "egress: [{hostname: a.example, caCertificate: ns/x}]"), "[]",
			`RefusedByPolicy: PluginPolicy p cannot be applied: spec: egress[0].caCertificate: "ns/x": want a ConfigMap's name`},
		"a Plugin's egress": {pluginText("x", `versions: [{name: "1", image: "r.example/x:1"}], egress: [{hostname: "*"}]`), "[x]",
			`UnknownPlugin: Service/default/s: [0] (x): Plugin x: spec.egress[0].hostname: "*": want a DNS name in lower case, or *.domain`},

		// limits
		"a limit above the maximum": {policyText("p", "limits: {maxima: {memory: 32Mi, body: 1Ki}}"), "[{use: transform, limits: {memory: 64Mi, body: 2Ki}}]",
			"RefusedByPolicy: Service/default/s: [0] (transform): limits.memory: 64Mi is above the maximum 32Mi of PluginPolicy p; limits.body: 2Ki is above the maximum 1Ki of PluginPolicy p: lower it"},
		"the strictest of two maxima": {policyText("a", "limits: {maxima: {cpuTime: 50ms}}") + policyText("b", "limits: {maxima: {cpuTime: 5ms}}"), "[{use: transform, limits: {cpuTime: 10ms}}]",
			"RefusedByPolicy: Service/default/s: [0] (transform): limits.cpuTime: 10ms is above the maximum 5ms of PluginPolicy b: lower it"},
		"a maximum that is out of range": {policyText("p", "limits: {maxima: {cpuTimeStart: 1m}}"), "[]",
			`RefusedByPolicy: PluginPolicy p cannot be applied: spec.limits.maxima: cpuTimeStart: "1m": want a duration from 10ms to 30s`},
		"a default that is out of range": {policyText("p", "limits: {defaults: {memory: 2Gi}}"), "[]",
			`RefusedByPolicy: PluginPolicy p cannot be applied: spec.limits.defaults: memory: "2Gi": want a size from 1048576 to 1024Mi`},
		"a Plugin's limit": {pluginText("x", `versions: [{name: "1", image: "r.example/x:1"}], limits: {cpuTime: 5s}`), "[x]",
			`InvalidConfig: Service/default/s: [0] (x): spec.limits of Plugin x: cpuTime: "5s": want a duration from 100µs to 1s`},
		"below the maximum": {policyText("p", "limits: {maxima: {cpuTime: 10ms}}"), "[{use: transform, limits: {cpuTime: 10ms}}, {use: transform, name: b}]", ""},

		// versions
		"a version that there is not": {prices, "['prices@3']",
			`UnknownPlugin: Service/default/s: [0] (prices): Plugin prices has no version "3": it has 1, 2`},
		"a default version that there is not": {pluginText("x", `versions: [{name: "1", image: "r.example/x:1"}], defaultVersion: "9"`), "[x]",
			`UnknownPlugin: Service/default/s: [0] (x): Plugin x has no version "9": it has 1`},
		"a Plugin without versions": {pluginText("x", "versions: []"), "[x]",
			`UnknownPlugin: Service/default/s: [0] (x): Plugin x has no version "": it has none`},
		"a version without an image": {pluginText("x", `versions: [{name: "1", image: nginx}]`), "[x]",
			"UnknownPlugin: Service/default/s: [0] (x): Plugin x: spec.versions[0].image: no image reference"},
		"a bundled version that there is not": {"", "['key-auth@2']",
			`UnknownPlugin: Service/default/s: [0] (key-auth): the catalogue has no version 2 of key-auth: it has key-auth@1`},
		"a Plugin's onError": {pluginText("x", `versions: [{name: "1", image: "r.example/x:1"}], onError: ignore`), "[x]",
			`UnknownPlugin: Service/default/s: [0] (x): Plugin x: spec.onError: "ignore" is neither reject nor skip`},
		"a version by its major": {prices, "['prices@1', {use: prices, name: b}]", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			if test.objects != "" {
				f.write("objects.yaml", test.objects)
			}
			f.write("s.yaml", service("s", test.plugins, ""))
			if got := firstFault(f.load()); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestWhatACatalogueEntryRuns: version, default version, and a Plugin in a
// bundled plugin's place.
func TestWhatACatalogueEntryRuns(t *testing.T) {
	prices := pluginText("prices", `versions: [{name: "1", image: "r.example/prices:1"}, {name: "2", image: "r.example/prices:2"}], defaultVersion: "2"`)
	for use, want := range map[string]string{"prices": "r.example/prices:2", "prices@1": "r.example/prices:1", "transform": "r.example/own:7", "key-auth@1": "penstock.dev/plugins/key-auth:1"} {
		f := newFolder(t)
		f.write("p.yaml", prices+pluginText("transform", `versions: [{name: "7", image: "r.example/own:7"}]`))
		f.write("s.yaml", service("s", "['"+use+"']", ""))
		p := part(t, f.load())
		if p.Fault != nil || p.Filters[0].Image != want {
			t.Errorf("%s: got %+v, %+v; want %s", use, p.Fault, p.Filters, want)
		}
	}
}

// TestPluginsWithMistakesAreTold even if nobody uses them.
func TestPluginsWithMistakesAreTold(t *testing.T) {
	f := newFolder(t)
	f.write("s.yaml", service("s", "[]", ""))
	f.write("p.yaml", pluginText("x", `versions: [{name: "v1", image: "r.example/x:1"}, {name: "1", image: x}, {name: "1", image: "r.example/x:2"}], defaultVersion: "4", onError: no-matter, capabilities: [x], limits: {body: 1Gi}, egress: [{hostname: A}]`))
	_, problems := load(t, f.dir, f.tr)
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := []string{
		`Plugin/x: spec: Invalid: capabilities[0]: "x" is none of cache, compress, consumer, crypto, http-call, kv, ratelimit, redis`,
		`Plugin/x: spec: Invalid: egress[0].hostname: "A": want a DNS name in lower case, or *.domain`,
		`Plugin/x: spec.defaultVersion: Invalid: "4" is none of the versions: use: x finds nothing`,
		`Plugin/x: spec.limits: Invalid: body: "1Gi": want a size from 0 to 64Mi`,
		`Plugin/x: spec.onError: Invalid: "no-matter" is neither reject nor skip`,
		`Plugin/x: spec.versions[0].name: Invalid: "v1": want a major version, each once: use: x@<major> finds no other`,
		`Plugin/x: spec.versions[1].image: Invalid: "x" is no image reference: want registry/repository[:tag][@sha256:digest]`,
		`Plugin/x: spec.versions[2].name: Invalid: "1": want a major version, each once: use: x@<major> finds no other`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestFiltersAreOfOneObject: the same text on two objects is two filters, which what runs
// tells apart by their hash, also in one chain that both put in place.
func TestFiltersAreOfOneObject(t *testing.T) {
	f := newFolder(t)
	f.write("chain.yaml", "apiVersion: penstock.dev/v1alpha1\nkind: PluginChain\nmetadata: {name: c, namespace: default}\nspec: {plugins: [{name: in-chain, use: transform}]}\n")
	const text = "[{use: transform}, {use: transform, name: again}, {chain: c}]"
	f.write("s.yaml", service("one", text, "")+service("two", text, ""))
	owners, hashes := map[string]string{}, 0
	for _, e := range f.load().Gateways[0].Listeners[0].Routes.Entries {
		chain := e.Route.Rules[0].Backends[0].Chain
		for _, x := range chain.Parts[len(chain.Parts)-1].Filters {
			hashes++
			who := x.Owner.String() + " " + x.Name
			if other, taken := owners[x.Hash]; taken && other != who {
				t.Errorf("%s and %s are one filter", who, other)
			}
			owners[x.Hash] = who
		}
	}
	// The chain's filter is the chain's own, whoever puts it in place.
	if hashes != 6 || len(owners) != 5 {
		t.Errorf("%d filters, of which %d differ; want 6 and 5", hashes, len(owners))
	}
}
