package translate

import (
	"fmt"
	"regexp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/annotation"
	"penstock.dev/penstock/k8s/api"
)

// survey tells what is wrong with objects that no route leads to, so that
// nothing is ignored in silence.
func (r *run) survey() {
	for _, c := range sorted(r.o.Chains) {
		if _, err := annotation.Check(c.Entries(), "PluginChain"); err != nil {
			r.problem(object("PluginChain", c), "spec.plugins", annotation.Reason(err), "%s", oneLine(err))
		}
	}
	for _, c := range sorted(r.o.GatewayClasses) { // also those without a Gateway
		if scratch := *r.t.o.Parameters; r.classes[c.Name] != nil {
			r.badClass[c.Name] = !r.applyClass(&scratch, c)
		}
	}
	for _, p := range sorted(r.o.Parameters) {
		scratch := *r.t.o.Parameters
		r.applyObject(&scratch, p)
	}
	for _, p := range sorted(r.o.Plugins) {
		r.surveyPlugin(p)
	}
	misplaced(r, "Secret", r.o.Secrets)
	misplaced(r, "ConfigMap", r.o.ConfigMaps)
	misplaced(r, "Namespace", r.o.Namespaces)
	misplaced(r, "EndpointSlice", r.o.EndpointSlices)
	misplaced(r, "GatewayClass", r.o.GatewayClasses)
	misplaced(r, "ReferenceGrant", r.o.ReferenceGrants)
	misplaced(r, "UDPRoute", r.o.UDPRoutes)
	misplaced(r, "ProxyParameters", r.o.Parameters)
}

func (r *run) surveyPlugin(p *api.Plugin) {
	o := config.Object{Kind: "Plugin", Name: p.Name}
	if p.Name == annotation.UseCache {
		r.problem(o, "metadata.name", "Invalid", "use: cache is the response cache, which no Plugin replaces: give this one another name")
	}
	if len(p.Spec.Versions) == 0 {
		r.problem(o, "spec.versions", "Invalid", "empty: a Plugin needs a version with an image")
	}
	seen := map[string]bool{}
	for i, v := range p.Spec.Versions {
		if !majorForm.MatchString(v.Name) || seen[v.Name] {
			r.problem(o, fmt.Sprintf("spec.versions[%d].name", i), "Invalid", "%.40q: want a major version, each once: use: %s@<major> finds no other", v.Name, p.Name)
		}
		seen[v.Name] = true
		if !annotation.Image(v.Image) {
			r.problem(o, fmt.Sprintf("spec.versions[%d].image", i), "Invalid", "%.100q is no image reference: want registry/repository[:tag][@sha256:digest]", v.Image)
		}
	}
	if d := p.Spec.DefaultVersion; d != "" && !seen[d] {
		r.problem(o, "spec.defaultVersion", "Invalid", "%.40q is none of the versions: use: %s finds nothing", d, p.Name)
	}
	if e := p.Spec.OnError; e != "" && e != "reject" && e != "skip" {
		r.problem(o, "spec.onError", "Invalid", "%.40q is neither reject nor skip", e)
	}
	if err := CheckCapabilities(p.Spec.Capabilities); err != nil {
		r.problem(o, "spec", "Invalid", "%v", err)
	}
	if _, err := annotation.Limits(p.Spec.Limits, config.DefaultLimits()); err != nil {
		r.problem(o, "spec.limits", "Invalid", "%v", err)
	}
	list, err := r.egress(p.Spec.Egress)
	if err != nil {
		r.problem(o, "spec", "Invalid", "%v", err)
	}
	r.tellVouchers(o, list)
}

var majorForm = regexp.MustCompile(`^[0-9]{1,6}$`)

// misplaced tells of a chain on a kind that cannot have one.
func misplaced[T metav1.Object](r *run, kind string, list []T) {
	for _, o := range list {
		if _, ok := o.GetAnnotations()[api.AnnotationPlugins]; ok {
			r.problem(object(kind, o), "metadata.annotations", "InvalidAnnotation", "%s is not allowed on a %s: write it on a Service, a route or a Gateway", api.AnnotationPlugins, kind)
		}
	}
}
