package parity

import (
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// sameStatuses waits until the API server has of each object the status that `penstock
// check --status` says for the folder.
func (p *pair) sameStatuses(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	// Exit 1: something is wrong with the objects.
	out, err := exec.Command(filepath.Join(p.root, "bin", "penstock"), "check", "--status", "--no-plugins", p.dir).Output()
	var said map[string]any
	if wrong := yaml.Unmarshal(out, &said); wrong != nil || len(said) == 0 {
		t.Fatalf("penstock check: %v, %v\n%s", err, wrong, out)
	}
	var why error
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var all []string
		for _, o := range objects {
			name := strings.Replace(id(o), "//", "/", 1)
			want, ok := said[name]
			if !ok {
				continue
			}
			at, err := p.at(o)
			if err != nil {
				t.Fatal(err)
			}
			now, err := at.Get(t.Context(), o.GetName(), metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, differences(name, settled(want), settled(now.Object["status"]))...)
		}
		if len(all) == 0 {
			return
		}
		why = errors.New(strings.Join(all[:min(len(all), 20)], "\n"))
	}
	t.Errorf("statuses differ (file: cluster):\n%v", why)
}

// settled leaves out what files do not have: generations, times, and addresses that a
// cluster gives; it puts the defaults of references in, which an API server does.
func settled(v any) any {
	switch x := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, v := range x {
			switch k {
			case "lastTransitionTime", "observedGeneration", "addresses":
			case "parentRef", "ancestorRef":
				ref := map[string]any{"group": "gateway.networking.k8s.io", "kind": "Gateway"}
				maps.Copy(ref, v.(map[string]any))
				out[k] = settled(ref)
			default:
				if s := settled(v); s != nil {
					out[k] = s
				}
			}
		}
		return out
	case []any:
		if len(x) == 0 {
			return nil
		}
		out := make([]any, len(x))
		for i := range x {
			out[i] = settled(x[i])
		}
		return out
	case string:
		if x == "" {
			return nil
		}
	case int64, float64:
		return fmt.Sprint(x)
	}
	return v
}
