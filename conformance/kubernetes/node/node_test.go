package node

import (
	"encoding/json"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestExpand(t *testing.T) {
	values := map[string]string{"A": "a", "B": "$(A)"}
	tests := map[string]struct{ text, want string }{
		"a variable":               {"x$(A)y", "xay"},
		"not twice":                {"$(B)", "$(A)"},
		"an unknown one stays":     {"$(C)", "$(C)"},
		"a dollar sign by two":     {"$$(A)", "$(A)"},
		"a dollar sign by itself":  {"5$ $", "5$ $"},
		"an open parenthesis":      {"$(A", "$(A"},
		"several":                  {"$(A)$(A)", "aa"},
		"two dollar signs at last": {"a$$", "a$"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := expand(test.text, values); got != test.want {
				t.Errorf("got %q; want %q", got, test.want)
			}
		})
	}
}

func TestAmount(t *testing.T) {
	c := &corev1.Container{Resources: corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("1500m")},
		Requests: corev1.ResourceList{"memory": resource.MustParse("64Mi")},
	}}
	tests := map[string]struct{ name, divisor, want string }{
		"rounded up":    {"limits.cpu", "0", "2"},
		"in thousandth": {"limits.cpu", "1m", "1500"},
		"in mebibytes":  {"requests.memory", "1Mi", "64"},
		"no limit":      {"limits.memory", "1Gi", "1"},
		"no request":    {"requests.cpu", "0", "0"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ref := &corev1.ResourceFieldSelector{Resource: test.name, Divisor: resource.MustParse(test.divisor)}
			if got, err := amount(c, ref); err != nil || got != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestCapabilities(t *testing.T) {
	tests := map[string]struct {
		change *corev1.Capabilities
		want   []uintptr
	}{
		"nothing is said": {nil, []uintptr{unix.CAP_CHOWN, unix.CAP_KILL}},
		"all are dropped": {&corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, nil},
		"one comes back":  {&corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"}}, []uintptr{unix.CAP_NET_BIND_SERVICE}},
		"one is dropped":  {&corev1.Capabilities{Drop: []corev1.Capability{"KILL"}}, []uintptr{unix.CAP_CHOWN}},
		"an unknown one":  {&corev1.Capabilities{Add: []corev1.Capability{"FLY"}}, []uintptr{unix.CAP_CHOWN, unix.CAP_KILL}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := capabilities([]uintptr{unix.CAP_CHOWN, unix.CAP_KILL}, test.change); !slices.Equal(got, test.want) {
				t.Errorf("got %v; want %v", got, test.want)
			}
		})
	}
}

func TestAddressesAreNotGivenAgainAtOnce(t *testing.T) {
	n, err := newNetwork("10.0.0.0/24", "10.1.0.1")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.Addr]bool{}
	for range 253 { // 2 to 254
		addr, _, err := n.take()
		if err != nil || seen[addr] {
			t.Fatalf("got %v, %v; want a new one", addr, err)
		}
		seen[addr] = true
		if len(seen) < 253 {
			n.give(addr)
		}
	}
	if addr, _, err := n.take(); err != nil || addr != netip.MustParseAddr("10.0.0.2") {
		t.Errorf("got %v, %v; want the first again", addr, err)
	}
}

func TestVolumeIsReplacedAllAtOnce(t *testing.T) {
	v := &volume{dir: t.TempDir()}
	write := func(files map[string]file) {
		t.Helper()
		if err := v.write(files); err != nil {
			t.Fatal(err)
		}
	}
	write(map[string]file{"a": {[]byte("1"), 0o600}, "deep/b": {[]byte("1"), 0o644}, "old": {[]byte("1"), 0o644}})
	watched, err := os.Readlink(filepath.Join(v.dir, "..data"))
	if err != nil {
		t.Fatal(err)
	}
	write(map[string]file{"a": {[]byte("2"), 0o600}, "deep/b": {[]byte("2"), 0o644}})
	for name, want := range map[string]string{"a": "2", "deep/b": "2"} {
		if got, err := os.ReadFile(filepath.Join(v.dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	if info, err := os.Stat(filepath.Join(v.dir, "a")); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 600", info.Mode(), err)
	}
	if _, err := os.Lstat(filepath.Join(v.dir, "old")); err == nil {
		t.Error("a removed key is still there")
	}
	if now, _ := os.Readlink(filepath.Join(v.dir, "..data")); now == watched {
		t.Error("..data was not turned")
	}
	if _, err := os.Stat(filepath.Join(v.dir, watched)); err == nil {
		t.Error("the old files are still there")
	}
}

func TestPerm(t *testing.T) {
	one, two := int32(0o400), int32(0o440)
	tests := map[string]struct {
		byDefault, own *int32
		want           fs.FileMode
	}{
		"none": {nil, nil, 0o644}, "the volume's": {&one, nil, 0o400}, "the item's": {&one, &two, 0o440},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := perm(test.byDefault, test.own); got != test.want {
				t.Errorf("got %v; want %v", got, test.want)
			}
		})
	}
}

func TestImageName(t *testing.T) {
	a := &Agent{config: Config{Images: map[string]Image{"penstock": {Program: "p"}, "localhost:5000/x/y": {Program: "y"}}}}
	tests := map[string]struct{ image, want string }{
		"as it is":        {"penstock", "p"},
		"tag":             {"penstock:1.2", "p"},
		"digest":          {"penstock:1.2@sha256:00", "p"},
		"port and no tag": {"localhost:5000/x/y", "y"},
		"port and tag":    {"localhost:5000/x/y:z", "y"},
		"unknown":         {"penstocks", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := &container{pod: &pod{agent: a}, spec: &corev1.Container{Image: test.image}}
			if got, err := c.image(); got.Program != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v; want %q", got.Program, err, test.want)
			}
		})
	}
}

func TestCNIChain(t *testing.T) {
	dir := t.TempDir()
	script := `#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_ARGS $0" >> ` + dir + `/calls
in=$(cat); echo "$in" >> ` + dir + `/inputs
[ "$CNI_COMMAND" = ADD ] && echo '{"cniVersion":"1.0.0","ips":[{"address":"10.9.9.9/32"}]}'
exit 0
`
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	chain := &CNI{Path: dir, Name: "net", Plugins: []json.RawMessage{[]byte(`{"type":"one","extra":1}`), []byte(`{"type":"two"}`)}}
	held, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	s := &sandbox{net: held, addr: netip.MustParseAddr("10.0.0.2"), gateway: "10.1.0.1", link: "pod1"}
	p := &corev1.Pod{}
	p.Name, p.Namespace, p.UID = "pod", "space", "uid"
	if err := chain.add(t.Context(), s, p); err != nil {
		t.Fatal(err)
	}
	if err := chain.remove(t.Context(), s, p); err != nil {
		t.Fatal(err)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	args := "uid eth0 IgnoreUnknown=1;K8S_POD_NAMESPACE=space;K8S_POD_NAME=pod;K8S_POD_INFRA_CONTAINER_ID=uid;K8S_POD_UID=uid " + dir
	if want := "ADD " + args + "/one\nADD " + args + "/two\nDEL " + args + "/two\nDEL " + args + "/one\n"; string(calls) != want {
		t.Errorf("calls\n%s\nwant\n%s", calls, want)
	}
	var inputs []map[string]any
	text, err := os.Open(filepath.Join(dir, "inputs"))
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	for d := json.NewDecoder(text); d.More(); {
		var in map[string]any
		if err := d.Decode(&in); err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, in)
	}
	first, second := inputs[0]["prevResult"].(map[string]any), inputs[1]["prevResult"].(map[string]any)
	if ip := first["ips"].([]any)[0].(map[string]any)["address"]; ip != "10.0.0.2/32" {
		t.Errorf("the first plugin sees %v; want the agent's address", ip)
	}
	if ip := second["ips"].([]any)[0].(map[string]any)["address"]; ip != "10.9.9.9/32" {
		t.Errorf("the second plugin sees %v; want what the first answered", ip)
	}
	if inputs[0]["name"] != "net" || inputs[0]["cniVersion"] != "1.0.0" || inputs[0]["extra"] != 1.0 {
		t.Errorf("configuration %v", inputs[0])
	}
}
