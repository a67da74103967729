package oci

import "testing"

func TestCost(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"microsecondsPerRequest": 1.5, "instanceKiB": 64}`:          true,
		`{"microsecondsPerRequest": 0, "instanceKiB": 64}`:            false,
		`{"microsecondsPerRequest": 1, "instanceKiB": -1}`:            false,
		`{"microsecondsPerRequest": 1, "instanceKiB": 1, "other": 1}`: false,
		`[]`: false,
		``:   false,
	} {
		if _, err := ParseCost([]byte(text)); (err == nil) != ok {
			t.Errorf("%s: got %v", text, err)
		}
	}
	c := Cost{MicrosecondsPerRequest: 1.5, InstanceKiB: 64}
	for from, want := range map[string]string{
		`{"guard": true, "abi": "proxy-wasm"}`: `{"abi":"proxy-wasm","cost":{"microsecondsPerRequest":1.5,"instanceKiB":64},"guard":true}`,
		``:                                     `{"cost":{"microsecondsPerRequest":1.5,"instanceKiB":64}}`,
	} {
		var manifest []byte
		if from != "" {
			manifest = []byte(from)
		}
		got, err := WithCost(manifest, c)
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v; want %s", got, err, want)
		}
		if m, err := ParseManifest(got); err != nil || m.Cost == nil || *m.Cost != c {
			t.Errorf("got %+v, %v", m, err)
		}
	}
	if _, err := WithCost([]byte("["), c); err == nil {
		t.Error("no manifest is taken for one")
	}
}
