package rights_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

func deleteGateway(t *testing.T, namespace, name string) {
	t.Helper()
	remove(t, "gateways", namespace, name)
}

// removeRoute takes the HTTPRoute away, and so the chains of its Services.
func removeRoute(t *testing.T, namespace string) {
	t.Helper()
	remove(t, "httproutes", namespace, "web")
}

func remove(t *testing.T, resource, namespace, name string) {
	t.Helper()
	at := schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: resource}
	if err := b.Dynamic.Resource(at).Namespace(namespace).Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// account makes a ServiceAccount with these rights, and a kubeconfig for it.
func account(t *testing.T, namespace, name string, cluster, local []rbacv1.PolicyRule) (kubeconfig string) {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.Client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must(err)
	subject := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}}
	if cluster != nil {
		_, err = b.Client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: namespace + "-" + name}, Rules: cluster}, metav1.CreateOptions{})
		must(err)
		_, err = b.Client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: namespace + "-" + name}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: namespace + "-" + name}}, metav1.CreateOptions{})
		must(err)
	}
	if local != nil {
		_, err = b.Client.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: local}, metav1.CreateOptions{})
		must(err)
		_, err = b.Client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}, metav1.CreateOptions{})
		must(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: b.Config.Host, CertificateAuthority: b.Config.CAFile, CertificateAuthorityData: b.Config.CAData}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token(t, namespace, name)}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	must(clientcmd.WriteToFile(*c, file))
	return file
}

func token(t *testing.T, namespace, name string) string {
	t.Helper()
	r, err := b.Client.CoreV1().ServiceAccounts(namespace).CreateToken(context.Background(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

// as returns a client with an account's rights.
func as(t *testing.T, namespace, name string) kubernetes.Interface {
	t.Helper()
	c := rest.AnonymousClientConfig(b.Config)
	c.BearerToken = token(t, namespace, name)
	client, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// saying runs a control process until its log has a line with all words.
func saying(t *testing.T, kubeconfig, namespace string, words ...string) {
	t.Helper()
	dir := t.TempDir()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, stop := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, filepath.Join(b.Root, "bin", "penstock"), "control", "--kubeconfig", kubeconfig, "--namespace", namespace,
		"--state", dir, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	c.Stderr = log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { stop(); _ = c.Wait() }()
	bed.Eventually(t, "the log names it", 20*time.Second, func() error {
		text, err := os.ReadFile(log.Name())
		if err != nil {
			return err
		}
		return says(string(text), words...)
	})
}

func says(text string, words ...string) error {
	for line := range strings.Lines(text) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			return nil
		}
	}
	return fmt.Errorf("no line with %q in\n%s", words, text)
}

// TestWithoutARightToRead: a control process that may not watch one kind says so. It
// never leads: it has no right to the Lease.
func TestWithoutARightToRead(t *testing.T) {
	ns := b.Space(t, "reading", nil)
	b.Put(t, ns, certificate(t, "cert", "a.example")+"---\n"+everything)
	var rules []rbacv1.PolicyRule
	for _, name := range []string{"penstock-control", "penstock-secrets"} {
		role, err := b.Client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, role.Rules...)
	}
	n := 0
	for _, r := range rights(t) {
		if r.verb != "watch" || !strings.HasPrefix(r.role, "ClusterRole/") {
			continue
		}
		n++
		name := fmt.Sprintf("reader-%d", n)
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			kind := r.resource + "." + r.group
			saying(t, account(t, ns, name, without(rules, r), nil), ns, "cannot be watched", kind, "forbidden")
		})
	}
}

// TestWithoutARightOfTheInstallNamespace: a control process in a namespace of its own,
// which reads nothing, and elects and certifies itself with all rights but one.
func TestWithoutARightOfTheInstallNamespace(t *testing.T) {
	role, err := b.Client.RbacV1().Roles(bed.Namespace).Get(t.Context(), "penstock-control", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old := func(name string) string {
		return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + ", namespace: NAMESPACE}\n"
	}
	lease := "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: penstock, namespace: NAMESPACE}\nspec: {holderIdentity: gone, leaseDurationSeconds: 1, acquireTime: \"2020-01-01T00:00:00.000000Z\", renewTime: \"2020-01-01T00:00:00.000000Z\"}\n"
	tests := map[string]struct{ before, word string }{
		"create leases.coordination.k8s.io":          {"", "the Lease"},
		"get leases.coordination.k8s.io penstock":    {"", "the Lease"},
		"update leases.coordination.k8s.io penstock": {lease, "the Lease"},
		"create secrets":                             {"", "certificates are not renewed"},
		"get secrets penstock-authority":             {"", "certificates are not renewed"},
		"update secrets penstock-authority":          {old("penstock-authority"), "certificates are not renewed"},
		"get secrets penstock-proxy":                 {"", "certificates are not renewed"},
		"update secrets penstock-proxy":              {old("penstock-proxy"), "certificates are not renewed"},
	}
	n := 0
	for _, r := range rights(t) {
		if r.role != "Role/penstock-control" || r.resource == "services" {
			continue
		}
		test, ok := tests[r.String()]
		if !ok {
			t.Errorf("no test of the right to %s", r)
			continue
		}
		n++
		name := fmt.Sprintf("install-%d", n)
		t.Run(r.String(), func(t *testing.T) {
			t.Parallel()
			ns := b.Space(t, name, nil)
			if test.before != "" {
				b.Put(t, ns, test.before)
			}
			saying(t, account(t, ns, "control", nil, without(role.Rules, r)), ns, test.word, "forbidden")
		})
	}
}

// TestWithoutARightToWrite takes each right of the running control away, and has it
// do what needs it.
func TestWithoutARightToWrite(t *testing.T) {
	b.Deployed(t)
	plain := gateway("edge", "{name: http, port: 80, protocol: HTTP}")
	triggers := map[string]string{ // what is made, if it is not everything
		"create services": plain, "patch services": plain, "create serviceaccounts": plain, "patch serviceaccounts": plain,
	}
	n := 0
	for _, r := range rights(t) {
		if r.verb == "watch" || r.verb == "list" || r.role != "ClusterRole/penstock-control" && r.resource != "services" {
			continue
		}
		n++
		t.Run(r.String(), func(t *testing.T) {
			ns := b.Space(t, fmt.Sprintf("writing-%d", n), nil)
			text, ok := triggers[r.String()]
			if !ok {
				text = everything
			}
			if r.verb == "delete" { // there must be something to take away
				b.Put(t, ns, certificate(t, "cert", "a.example")+"---\n"+text)
				bed.Eventually(t, "it is there", 20*time.Second, func() error {
					_, err := b.Chain(t.Context(), ns, "service-web")
					return err
				})
				b.Address(t, ns, "edge")
			}
			took(t, r)
			since := metav1.Now()
			switch {
			case r.verb == "delete" && r.resource == "services":
				deleteGateway(t, ns, "edge")
			case r.verb == "delete":
				removeRoute(t, ns)
			default:
				b.Put(t, ns, certificate(t, "cert", "a.example")+"---\n"+text)
			}
			words := []string{"forbidden", "\\\"" + strings.Split(r.resource, "/")[0] + "\\\""}
			if r.group != "" {
				words[1] = "\\\"" + r.group + "\\\""
			}
			words = append(words, r.resource)
			bed.Eventually(t, "control's log names it", 20*time.Second, func() error {
				leader, err := b.Leader(t.Context())
				if err != nil {
					return err
				}
				text, err := b.Client.CoreV1().Pods(bed.Namespace).GetLogs(leader.Name, &corev1.PodLogOptions{SinceTime: &since}).DoRaw(t.Context())
				if err != nil {
					return err
				}
				return says(string(text), words...)
			})
		})
	}
}

// took takes a right of control away until the test ends.
func took(t *testing.T, r right) {
	t.Helper()
	ctx := context.Background()
	if name, ok := strings.CutPrefix(r.role, "ClusterRole/"); ok {
		role, err := b.Client.RbacV1().ClusterRoles().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		all := role.Rules
		set := func(rules []rbacv1.PolicyRule) {
			role.Rules, role.ResourceVersion = rules, ""
			if role, err = b.Client.RbacV1().ClusterRoles().Update(ctx, role, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() { set(all) })
		set(without(all, r))
		return
	}
	role, err := b.Client.RbacV1().Roles(bed.Namespace).Get(ctx, "penstock-control", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all := role.Rules
	set := func(rules []rbacv1.PolicyRule) {
		role.Rules, role.ResourceVersion = rules, ""
		if role, err = b.Client.RbacV1().Roles(bed.Namespace).Update(ctx, role, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { set(all) })
	set(without(all, r))
}
