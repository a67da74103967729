package asking_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocument does what docs/kubernetes.md says of asking control.
func TestDocument(t *testing.T) {
	world(t)
	text, err := os.ReadFile(filepath.Join(b.Root, "docs", "kubernetes.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Asking control\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := yamlBlock.FindAllStringSubmatch(section, -1)
	if len(blocks) != 3 {
		t.Fatalf("%d blocks of YAML", len(blocks))
	}
	// What the tests' control was started with is what the patch makes of the manifests.
	patch, err := yaml.YAMLToJSON([]byte(blocks[0][1]))
	if err != nil {
		t.Fatal(err)
	}
	deployments := b.Client.AppsV1().Deployments(bed.Namespace)
	now, err := deployments.Get(t.Context(), "penstock-control", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	patched, err := deployments.Patch(t.Context(), "penstock-control", types.StrategicMergePatchType, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	before, after := now.Spec.Template.Spec, patched.Spec.Template.Spec
	if !slices.Equal(before.Containers[0].Args, after.Containers[0].Args) {
		t.Errorf("arguments %q; the document has %q", before.Containers[0].Args, after.Containers[0].Args)
	}
	if len(before.Volumes) != len(after.Volumes) || len(before.Containers[0].VolumeMounts) != len(after.Containers[0].VolumeMounts) || len(after.Containers) != 1 {
		t.Errorf("the document has volumes %v, mounts %v", after.Volumes, after.Containers[0].VolumeMounts)
	}

	b.Put(t, "store", blocks[1][1]+"---\n"+blocks[2][1])
	account(t, "store", "me", false)
	if _, err := b.Client.RbacV1().RoleBindings("store").Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "me"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "chains"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "store", Name: "me"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account(t, "store", "them", false)
	if _, err := b.Client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "them"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "penstock-operator"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "store", Name: "them"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var service *corev1.Service
	if service, err = b.Client.CoreV1().Services(bed.Namespace).Get(t.Context(), "penstock-admin", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	for path, who := range map[string]string{"/chains?namespace=store": "me", "/config": "them", "/proxies": "them", "/metrics": "them", "/debug/pprof/heap": "them"} {
		bed.Eventually(t, path, time.Minute, func() error { // kube-proxy too looks for the API server that was away
			status, body, err := bed.Ask(admin.Client(nil), "https://"+service.Spec.ClusterIP+":9901"+path, token(t, "store", who))
			if err != nil || status != 200 || strings.Contains(path, "chains") && !strings.Contains(body, `"leads": true`) {
				return fmt.Errorf("%d %.300s, %v", status, body, err)
			}
			return nil
		})
	}
}
