// Package rights_test shows that Penstock's accounts can do what they need, and
// nothing else.
package rights_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

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
	o, err := admin.Options(bed.Options{}) // without it nothing needs the right to reviews
	if err != nil {
		panic(err)
	}
	os.Exit(bed.Main(m, o, func(made *bed.Bed) { b = made }))
}

const control = "system:serviceaccount:penstock-system:penstock-control"

// right is one verb on one resource.
type right struct {
	role            string // "ClusterRole/penstock-control"
	group, resource string // resource with its subresource
	name            string // empty: all
	verb            string
}

// String names a right.
func (r right) String() string {
	s := r.verb + " " + r.resource
	if r.group != "" {
		s += "." + r.group
	}
	if r.name != "" {
		s += " " + r.name
	}
	return s
}

// rights are all that the manifests grant control.
func rights(t *testing.T) (all []right) {
	t.Helper()
	add := func(role string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			names := rule.ResourceNames
			if len(names) == 0 {
				names = []string{""}
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range names {
						for _, verb := range rule.Verbs {
							all = append(all, right{role, group, resource, name, verb})
						}
					}
				}
			}
		}
	}
	for _, name := range []string{"penstock-control", "penstock-secrets", "penstock-reviews"} {
		role, err := b.Client.RbacV1().ClusterRoles().Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		add("ClusterRole/"+name, role.Rules)
	}
	role, err := b.Client.RbacV1().Roles(bed.Namespace).Get(t.Context(), "penstock-control", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	add("Role/penstock-control", role.Rules)
	return all
}

// without returns rules that lack a right.
func without(rules []rbacv1.PolicyRule, r right) (out []rbacv1.PolicyRule) {
	drop := func(list []string, s string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(x string) bool { return x == s })
	}
	for _, rule := range rules {
		if !slices.Contains(rule.APIGroups, r.group) || !slices.Contains(rule.Resources, r.resource) || !slices.Contains(rule.Verbs, r.verb) ||
			(r.name == "") != (len(rule.ResourceNames) == 0) || r.name != "" && !slices.Contains(rule.ResourceNames, r.name) {
			out = append(out, rule)
			continue
		}
		others := rule
		if others.Resources = drop(rule.Resources, r.resource); len(others.Resources) > 0 {
			out = append(out, others)
		}
		if r.name != "" {
			same := rule
			same.Resources = []string{r.resource}
			if same.ResourceNames = drop(rule.ResourceNames, r.name); len(same.ResourceNames) > 0 {
				out = append(out, same)
			}
			rule.ResourceNames = []string{r.name}
		}
		rule.Resources = []string{r.resource}
		if rule.Verbs = drop(rule.Verbs, r.verb); len(rule.Verbs) > 0 {
			out = append(out, rule)
		}
	}
	return out
}

// creates are rights that no request of their own shows: a Server-Side Apply of what
// is not there is a patch that needs both; Secrets are made at the first start.
var creates = []string{"create services", "create serviceaccounts", "create secrets"}

// TestEachRightIsUsed: with an object of each kind, nothing is refused and nothing
// is granted that is not used.
func TestEachRightIsUsed(t *testing.T) {
	audit, err := b.Audit()
	if err != nil {
		t.Fatal(err)
	}
	ns := b.Space(t, "used", nil)
	b.Put(t, ns, certificate(t, "cert", "a.example")+"---\n"+everything)
	address := b.Address(t, ns, "edge")
	if address == "" {
		t.Fatal("no address")
	}
	bed.Eventually(t, "the chain's status", 20*time.Second, func() error {
		_, err := b.Chain(t.Context(), ns, "service-web")
		return err
	})
	used, refused := map[string]bool{}, map[string]int{}
	granted := rights(t)
	var unused []string
	// missing fails as long as a right of which the name has this in it is not used.
	missing := func(part string) error {
		requests, err := audit.Next()
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range requests {
			if !strings.HasPrefix(q.UserAgent, "penstock/") {
				continue // this test's own
			}
			if q.User.Username != control {
				t.Errorf("%s asks to %s %s: it should have no token", q.User.Username, q.Verb, q.ObjectRef.Resource)
				continue
			}
			r := right{group: q.ObjectRef.APIGroup, resource: q.ObjectRef.Resource, verb: q.Verb}
			if q.ObjectRef.Subresource != "" {
				r.resource += "/" + q.ObjectRef.Subresource
			}
			if q.ResponseStatus.Code == 403 && !strings.Contains(q.ResponseStatus.Message, "being terminated") {
				refused[r.String()]++
			}
			used[r.String()] = true
			r.name = q.ObjectRef.Name
			used[r.String()] = true
		}
		unused = nil
		for _, r := range granted {
			if r.verb == "list" { // only API servers that do not send a first list by watch are asked for one
				continue
			}
			if !used[r.String()] && strings.Contains(r.String(), part) && !slices.Contains(creates, right{group: r.group, resource: r.resource, verb: r.verb}.String()) {
				unused = append(unused, r.String())
			}
		}
		if len(unused) > 0 {
			return fmt.Errorf("unused: %q", unused)
		}
		return nil
	}
	if status, body, err := bed.Ask(admin.Client(nil), b.AdminURL(t)+"/chains", token(t, bed.Namespace, "penstock-proxy")); status != 403 {
		t.Errorf("an account without rights asks for chains: %d %s, %v", status, body, err)
	}
	bed.Eventually(t, "statuses are written", 20*time.Second, func() error { return missing("/status") })
	// Away with it, and another leader.
	removeRoute(t, ns)
	b.Put(t, ns, "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: NAMESPACE, annotations: {penstock.dev/plugins: \"[]\"}}\nspec: {selector: {app: nobody}, ports: [{name: http, port: 80, targetPort: 8080}]}\n")
	leader, err := b.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"penstock-authority", "penstock-proxy"} { // worn out: to be written anew
		secret, err := b.Client.CoreV1().Secrets(bed.Namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secret.Data = nil
		if _, err := b.Client.CoreV1().Secrets(bed.Namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Client.CoreV1().Pods(bed.Namespace).Delete(t.Context(), leader.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Client.CoordinationV1().Leases(bed.Namespace).Delete(t.Context(), "penstock", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Deployed(t)
	deleteGateway(t, ns, "edge")
	_ = bed.Wait(20*time.Second, func() error { return missing("") })
	if len(unused) > 0 {
		t.Errorf("granted and never used:\n%s", strings.Join(unused, "\n"))
	}
	if len(refused) > 0 {
		t.Errorf("refused: %v", refused)
	}
	t.Logf("%d rights are granted", len(granted))
}
