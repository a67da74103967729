package translate_test

import (
	"strings"
	"testing"
)

// TestDidYouMean: what an unknown name in use is told.
func TestDidYouMean(t *testing.T) {
	const list = "(penstock plugin list shows what is bundled, and Plugin objects add to it)"
	none := func(name string) string {
		return `the catalogue has no "` + name + `": ` + strings.Trim(list, "()")
	}
	plugins := ""
	for _, name := range []string{"cors", "cores", "core", "corps", "prices", strings.Repeat("long.", 50) + "x"} {
		plugins += pluginText(name, `versions: [{name: "1", image: "r.example/a:1"}]`)
	}
	tests := map[string]struct{ use, want string }{
		"a letter too few":               {"key-aut", `the catalogue has no "key-aut": did you mean key-auth? ` + list},
		"a letter too many":              {"keyy-auth", `the catalogue has no "keyy-auth": did you mean key-auth? ` + list},
		"without the hyphen":             {"keyauth", `the catalogue has no "keyauth": did you mean key-auth? ` + list},
		"two letters swapped":            {"tarnsform", `the catalogue has no "tarnsform": did you mean transform? ` + list},
		"with a version":                 {"key-aut@1", `the catalogue has no "key-aut@1": did you mean key-auth? ` + list},
		"a version that is not there":    {"key-auth@2", `the catalogue has no version 2 of key-auth: it has key-auth@1`},
		"what is native":                 {"cahe", `the catalogue has no "cahe": did you mean cache? ` + list},
		"Plugin objects":                 {"pricse", `the catalogue has no "pricse": did you mean prices? ` + list},
		"three at most, the nearest":     {"coress", `the catalogue has no "coress": did you mean cores, core or corps? ` + list},
		"of the same distance by name":   {"corez", `the catalogue has no "corez": did you mean core, cores or corps? ` + list},
		"a third of the letters differs": {"trxxsfxrm", `the catalogue has no "trxxsfxrm": did you mean transform? ` + list},
		"more differs":                   {"trxxsxxrm", none("trxxsxxrm")},
		"nothing like it":                {"nobody", none("nobody")},
		"one letter":                     {"x", none("x")},
		"as long as a name may be":       {strings.Repeat("a", 63), none(strings.Repeat("a", 63))},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			f.write("plugins.yaml", plugins)
			f.write("s.yaml", service("s", "[{use: "+test.use+", name: n}]", ""))
			got := firstFault(f.load())
			if want := "UnknownPlugin: Service/default/s: [0] (n): " + test.want; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}
