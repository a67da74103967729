package upstream

import (
	"testing"

	"penstock.dev/penstock/core/config"
)

func TestNear(t *testing.T) {
	zones := func(names ...string) config.Endpoint { return config.Endpoint{ForZones: names} }
	both := func(zone, node string) config.Endpoint {
		return config.Endpoint{ForZones: []string{zone}, ForNodes: []string{node}}
	}
	tests := map[string]struct {
		hints []config.Endpoint
		place Place
		want  []int
	}{
		"those that are meant for the zone":         {[]config.Endpoint{zones("a"), zones("b"), zones("b", "a")}, Place{Zone: "a"}, []int{0, 2}},
		"all, if the zone is not known":             {[]config.Endpoint{zones("a"), zones("b")}, Place{}, []int{0, 1}},
		"all, if none is meant for it":              {[]config.Endpoint{zones("a"), zones("b")}, Place{Zone: "c"}, []int{0, 1}},
		"all, if one has no hint":                   {[]config.Endpoint{zones("a"), zones()}, Place{Zone: "a"}, []int{0, 1}},
		"those that are meant for the node":         {[]config.Endpoint{both("a", "n"), both("a", "m")}, Place{Zone: "a", Node: "n"}, []int{0}},
		"those of the zone, if none is of the node": {[]config.Endpoint{both("a", "l"), both("b", "m")}, Place{Zone: "a", Node: "n"}, []int{0}},
		"nothing of nothing":                        {nil, Place{Zone: "a"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var all []*endpoint
			for range test.hints {
				all = append(all, &endpoint{})
			}
			got := near(all, test.hints, test.place)
			if len(got) != len(test.want) {
				t.Fatalf("got %d endpoints; want %v", len(got), test.want)
			}
			for i, n := range test.want {
				if got[i] != all[n] {
					t.Errorf("%d is another one", i)
				}
			}
		})
	}
}
