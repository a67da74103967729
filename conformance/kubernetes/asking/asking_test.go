// Package asking_test asks control over the network: with tokens of accounts, with
// certificates, and without an API server.
package asking_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/conformance/kubernetes/bed"
)

var (
	b     *bed.Bed
	admin *bed.Admin
)

func TestMain(m *testing.M) {
	var err error
	if admin, err = bed.NewAdmin(); err != nil {
		panic(err)
	}
	o, err := admin.Options(bed.Options{})
	if err != nil {
		panic(err)
	}
	os.Exit(bed.Main(m, o, func(made *bed.Bed) { b = made }))
}

const secret = "hush-51c2-hush"

// shop is a Service with plugins that know a Secret, behind the Gateway of edge.
const shop = `
apiVersion: v1
kind: Secret
metadata: {name: words, namespace: NAMESPACE, labels: {penstock.dev/plugin-secret: "true"}}
stringData: {more: '{"response": {"headers": {"set": {"X-From": "SECRET"}}}}', one: SECRET}
---
apiVersion: v1
kind: Service
metadata:
  name: NAMESPACE-shop
  namespace: NAMESPACE
  annotations:
    penstock.dev/plugins: |
      - use: transform
        configFrom: [{secretKeyRef: {name: words, key: more}}]
        env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: words, key: one}}}]
spec: {selector: {app: nobody}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: NAMESPACE-route, namespace: NAMESPACE}
spec:
  parentRefs: [{name: edge, namespace: edge}]
  hostnames: [NAMESPACE.example]
  rules:
  - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Authorization, value: SECRET}]}}]
    backendRefs: [{name: NAMESPACE-shop, port: 80}]
`

const edge = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: NAMESPACE}
spec:
  gatewayClassName: penstock
  listeners: [{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
`

// account makes a ServiceAccount that may do what the rules say, in its namespace or,
// if everywhere, in all.
func account(t *testing.T, namespace, name string, everywhere bool, rules ...rbacv1.PolicyRule) {
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
	t.Cleanup(func() { _ = b.Client.CoreV1().ServiceAccounts(namespace).Delete(ctx, name, metav1.DeleteOptions{}) })
	if len(rules) == 0 {
		return
	}
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}}
	if !everywhere {
		_, err = b.Client.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}, metav1.CreateOptions{})
		must(err)
		_, err = b.Client.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}, metav1.CreateOptions{})
		must(err)
		return
	}
	long := namespace + "-" + name
	_, err = b.Client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: long}, Rules: rules}, metav1.CreateOptions{})
	must(err)
	_, err = b.Client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: long}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: long}}, metav1.CreateOptions{})
	must(err)
	t.Cleanup(func() {
		_ = b.Client.RbacV1().ClusterRoles().Delete(ctx, long, metav1.DeleteOptions{})
		_ = b.Client.RbacV1().ClusterRoleBindings().Delete(ctx, long, metav1.DeleteOptions{})
	})
}

func token(t *testing.T, namespace, name string, audiences ...string) string {
	t.Helper()
	r, err := b.Client.CoreV1().ServiceAccounts(namespace).CreateToken(context.Background(), name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Status.Token
}

var (
	chains  = rbacv1.PolicyRule{APIGroups: []string{"penstock.dev"}, Resources: []string{"chainstatuses"}, Verbs: []string{"get"}}
	listing = rbacv1.PolicyRule{APIGroups: []string{"penstock.dev"}, Resources: []string{"chainstatuses"}, Verbs: []string{"list", "watch"}}
	paths   = rbacv1.PolicyRule{NonResourceURLs: []string{"/proxies", "/debug/pprof/*"}, Verbs: []string{"get"}}
)

// chain is what /chains says of a part.
type chain struct {
	Target, State, Reason, Proxies string
	Filters                        []struct{ Name, Digest, State, Proxies string }
}

// report reads /chains.
func report(body string) (all []chain, leads bool, err error) {
	var r struct {
		Leads  bool
		Chains []chain
	}
	err = json.Unmarshal([]byte(body), &r)
	return r.Chains, r.Leads, err
}

// world is two tenants behind one Gateway, whose chains run on both proxies. It is
// made by the first test. It returns where the leading process is asked.
func world(t *testing.T) (url string) {
	t.Helper()
	b.Deployed(t)
	const space = "apiVersion: v1\nkind: Namespace\nmetadata: {name: NAMESPACE}\n---\n"
	b.Put(t, "edge", space+edge)
	for _, ns := range []string{"store", "bank"} {
		b.Put(t, ns, space+strings.ReplaceAll(shop, "SECRET", secret))
		bed.Eventually(t, "the chain runs", 30*time.Second, func() error {
			c, err := b.Chain(t.Context(), ns, "service-"+ns+"-shop")
			if err == nil && c.Is("Programmed") != "True Programmed" {
				err = fmt.Errorf("%s", c)
			}
			return err
		})
	}
	cert, err := admin.Certificate(x509.ExtKeyUsageClientAuth)
	if err != nil {
		t.Fatal(err)
	}
	bed.Eventually(t, "both proxies are with the leader", time.Minute, func() error {
		url = b.AdminURL(t)
		status, body, err := bed.Ask(admin.Client(cert), url+"/proxies", "")
		if err != nil || status != 200 || !strings.Contains(body, `"leads": true`) || strings.Count(body, `"ready": true`) != 2 || strings.Count(body, `"current": true`) != 2 {
			return fmt.Errorf("%d %s, %v", status, body, err)
		}
		return nil
	})
	return url
}

// TestWhoSeesWhat: each account is answered what its rights say, and nothing else.
func TestWhoSeesWhat(t *testing.T) {
	url := world(t)
	account(t, "store", "reader", false, chains)
	account(t, "store", "lister", false, listing)
	account(t, "store", "nobody", false)
	account(t, "store", "operator", true, chains, paths)
	account(t, "store", "prober", true, paths)
	foreign := token(t, "store", "operator", "https://vault.example")
	mine, all := []string{"store-shop"}, []string{"store-shop", "bank-shop"}
	tests := map[string]struct {
		token, path string
		want        int
		has         []string // else nothing of the shops
		says        string
	}{
		"own chains":                       {"reader", "/chains?namespace=store", 200, mine, `"service/transform"`},
		"own config":                       {"reader", "/config?namespace=store", 200, mine, "store.example"},
		"another's chains":                 {"reader", "/chains?namespace=bank", 403, nil, "system:serviceaccount:store:reader may not get chainstatuses.penstock.dev in namespace bank"},
		"another's config":                 {"reader", "/config?namespace=bank", 403, nil, "in namespace bank"},
		"all chains":                       {"reader", "/chains", 403, nil, "in all namespaces"},
		"all of the config":                {"reader", "/config", 403, nil, "in all namespaces"},
		"proxies":                          {"reader", "/proxies", 403, nil, "may not get /proxies"},
		"a profile":                        {"reader", "/debug/pprof/heap", 403, nil, "may not get /debug/pprof/heap"},
		"metrics":                          {"reader", "/metrics", 403, nil, "may not get /metrics"},
		"who may list may not get":         {"lister", "/chains?namespace=store", 403, nil, "may not get"},
		"who may do nothing":               {"nobody", "/chains?namespace=store", 403, nil, "store:nobody may not get"},
		"health, as all accounts may":      {"nobody", "/readyz", 200, nil, "ok"},
		"operator: all chains":             {"operator", "/chains", 200, all, `"leads": true`},
		"operator: one namespace":          {"operator", "/chains?namespace=store", 200, mine, `"leads": true`},
		"operator: all of the config":      {"operator", "/config", 200, all, "bank.example"},
		"operator: proxies":                {"operator", "/proxies", 200, nil, `"current": true`},
		"operator: a profile":              {"operator", "/debug/pprof/goroutine?debug=1", 200, nil, "goroutine profile"},
		"operator: a namespace without us": {"operator", "/chains?namespace=kube-system", 200, nil, `"chains": []`},
		"paths are no objects":             {"prober", "/chains", 403, nil, "in all namespaces"},
		"a token for somebody else":        {"=" + foreign, "/chains", 401, nil, "not valid"},
		"a made up token":                  {"=aaaa.bbbb.cccc", "/chains", 401, nil, "not valid"},
		"no token":                         {"", "/chains", 401, nil, "bearer token"},
		"no token for health":              {"", "/livez", 401, nil, "bearer token"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bearer, given := strings.CutPrefix(test.token, "=")
			if !given && test.token != "" {
				bearer = token(t, "store", test.token)
			}
			status, body, err := bed.Ask(admin.Client(nil), url+test.path, bearer)
			if err != nil || status != test.want || !strings.Contains(body, test.says) {
				t.Fatalf("got %d %.2000s, %v; want %d, %s", status, body, err, test.want, test.says)
			}
			for _, s := range all {
				if got := strings.Contains(body, s); got != slices.Contains(test.has, s) {
					t.Errorf("%s is there: %v", s, got)
				}
			}
			for _, hidden := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))[:16], base64.StdEncoding.EncodeToString([]byte(`{"response":`))[:12]} {
				if strings.Contains(body, hidden) {
					t.Errorf("the Secret is shown: %.2000s", body)
				}
			}
		})
	}

	// The Secret has been read: what is hidden is there to be shown.
	if _, body, err := bed.Ask(admin.Client(nil), url+"/config?namespace=store", token(t, "store", "reader")); err != nil || !strings.Contains(body, `"Private": true`) || strings.Count(body, `"(redacted)"`) < 2 {
		t.Errorf("got %s, %v", body, err)
	}
	status, body, err := bed.Ask(admin.Client(nil), url+"/chains?namespace=store", token(t, "store", "reader"))
	list, leads, failed := report(body)
	if err != nil || failed != nil || status != 200 || !leads || len(list) != 1 {
		t.Fatalf("%d %s, %v, %v", status, body, err, failed)
	}
	c, err := b.Chain(t.Context(), "store", "service-store-shop")
	if err != nil || len(c.Filters) != 1 {
		t.Fatalf("%s, %v", c, err)
	}
	got := list[0]
	if got.Target != "Service/store/store-shop" || got.State != "Running" || got.Proxies != "2/2" || len(got.Filters) != 1 {
		t.Fatalf("got %+v", got)
	}
	if f := got.Filters[0]; f.Name != c.Filters[0].Name || f.Digest != c.Filters[0].Digest || f.State != "Ready" || f.Proxies != "2/2" {
		t.Errorf("got %+v; the ChainStatus says %+v", f, c.Filters[0])
	}
}

// TestCertificates: who has one of the authority may ask all, whoever else is cut.
func TestCertificates(t *testing.T) {
	url := world(t)
	right, err := admin.Certificate(x509.ExtKeyUsageClientAuth)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/chains", "/config", "/proxies", "/metrics", "/livez"} {
		if status, body, err := bed.Ask(admin.Client(right), url+path, ""); status != 200 || strings.Contains(body, secret) {
			t.Errorf("%s: %d %.300s, %v", path, status, body, err)
		}
	}
	pods, err := b.Client.CoreV1().Pods(bed.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=control"})
	if err != nil || len(pods.Items) != 2 {
		t.Fatalf("%d Pods, %v", len(pods.Items), err)
	}
	for _, p := range pods.Items {
		at := bed.AdminOf(&p)
		if at == url {
			continue
		}
		// The other one knows the config, and says that it has no proxies.
		for path, want := range map[string]string{"/proxies": `"leads": false`, "/chains": `"proxies": "0/0"`, "/config": "store-shop"} {
			if status, body, err := bed.Ask(admin.Client(right), at+path, ""); status != 200 || !strings.Contains(body, want) || strings.Contains(body, `"ready"`) {
				t.Errorf("who does not lead, %s: %d %.300s, %v", path, status, body, err)
			}
		}
	}
	stranger, err := bed.NewAdmin()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := stranger.Certificate(x509.ExtKeyUsageClientAuth)
	if err != nil {
		t.Fatal(err)
	}
	if status, body, err := bed.Ask(admin.Client(foreign), url+"/livez", ""); err == nil {
		t.Errorf("another authority's: %d %s", status, body)
	}
}

// TestRevoked: a token is refused within the time that answers are believed, whether
// its account is gone or has lost its right.
func TestRevoked(t *testing.T) {
	url := world(t)
	account(t, "store", "gone", false, chains)
	account(t, "store", "robbed", false, chains)
	take := map[string]func() error{
		"gone": func() error {
			return b.Client.CoreV1().ServiceAccounts("store").Delete(t.Context(), "gone", metav1.DeleteOptions{})
		},
		"robbed": func() error {
			return b.Client.RbacV1().RoleBindings("store").Delete(t.Context(), "robbed", metav1.DeleteOptions{})
		},
	}
	for name, want := range map[string]int{"gone": 401, "robbed": 403} {
		t.Run(name, func(t *testing.T) {
			bearer := token(t, "store", name)
			ask := func() (int, error) {
				status, _, err := bed.Ask(admin.Client(nil), url+"/chains?namespace=store", bearer)
				return status, err
			}
			if status, err := ask(); status != 200 {
				t.Fatalf("%d, %v", status, err)
			}
			if err := take[name](); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			bed.Eventually(t, "it is refused", 25*time.Second, func() error {
				if status, err := ask(); status != want {
					return fmt.Errorf("%d, %v", status, err)
				}
				return nil
			})
			// The API server itself believes in a token for up to 10 seconds.
			if took := time.Since(began); took > 22*time.Second {
				t.Errorf("after %v", took)
			} else {
				t.Logf("after %v", took.Round(100*time.Millisecond))
			}
		})
	}
}

// TestWithoutAPIServer: nobody gets in by a token that is not known, soon nobody at
// all, and who has a certificate is answered.
func TestWithoutAPIServer(t *testing.T) {
	url := world(t)
	account(t, "store", "operator", true, chains, paths)
	known, fresh := token(t, "store", "operator"), token(t, "store", "operator")
	cert, err := admin.Certificate(x509.ExtKeyUsageClientAuth)
	if err != nil {
		t.Fatal(err)
	}
	if status, body, err := bed.Ask(admin.Client(nil), url+"/chains", known); status != 200 {
		t.Fatalf("%d %s, %v", status, body, err)
	}
	api := b.ControlPlane["kube-apiserver"]
	if err := api.Kill(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	t.Cleanup(func() {
		if err := api.Restart(); err != nil {
			t.Fatal(err)
		}
		bed.Eventually(t, "the API server is back", time.Minute, func() error {
			_, err := b.Client.CoreV1().Namespaces().Get(context.Background(), "store", metav1.GetOptions{})
			return err
		})
		bed.Eventually(t, "tokens are reviewed again", time.Minute, func() error {
			if status, body, err := bed.Ask(admin.Client(nil), b.AdminURL(t)+"/chains", fresh); status != 200 {
				return fmt.Errorf("%d %s, %v", status, body, err)
			}
			return nil
		})
	})
	for _, path := range []string{"/chains", "/chains?namespace=store", "/config", "/proxies", "/livez"} {
		if status, body, err := bed.Ask(admin.Client(nil), url+path, fresh); status != 503 || !strings.Contains(body, "the API server does not answer") || strings.Contains(body, "shop") {
			t.Errorf("%s: %d %.300s, %v; want 503", path, status, body, err)
		}
	}
	if status, body, err := bed.Ask(admin.Client(nil), url+"/chains", ""); status != 401 {
		t.Errorf("no token: %d %s, %v", status, body, err)
	}
	bed.Eventually(t, "what is known is forgotten", 15*time.Second, func() error {
		if status, body, err := bed.Ask(admin.Client(nil), url+"/chains", known); status != 503 {
			return fmt.Errorf("%d %.300s, %v", status, body, err)
		}
		return nil
	})
	if took := time.Since(began); took > 17*time.Second {
		t.Errorf("a known token was believed for %v", took)
	}
	if status, body, err := bed.Ask(admin.Client(cert), url+"/chains", ""); status != 200 || !strings.Contains(body, "store-shop") {
		t.Errorf("with a certificate: %d %.300s, %v", status, body, err)
	}
}
