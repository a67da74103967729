package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// chained is an object that has a chain: it declares filters, or is given some.
type chained struct {
	metav1.Object
	parts []*config.Part // that its exchanges run, outermost first, each once
}

// noteChain notes the parts that an object's exchanges run.
func (r *run) noteChain(kind string, meta metav1.Object, parts []*config.Part) {
	o := object(kind, meta)
	c := r.chained[o]
	if r.changing {
		r.beyond = r.beyond || c == nil || slices.ContainsFunc(parts, func(p *config.Part) bool { return p != nil && !slices.Contains(c.parts, p) })
		return
	}
	if c == nil {
		c = &chained{Object: meta}
		r.chained[o] = c
	}
	for _, p := range parts {
		if p != nil && !slices.Contains(c.parts, p) {
			c.parts = append(c.parts, p)
		}
	}
}

// chainStatusName is that of the ChainStatus of an object.
func chainStatusName(o config.Object) string {
	name := strings.ToLower(o.Kind) + "-" + o.Name
	if len(name) > 253 {
		return shortened(name, name, 253)
	}
	return name
}

// observedHash is of an object's annotation, empty if it has none.
func observedHash(meta metav1.Object) string {
	text, ok := meta.GetAnnotations()[api.AnnotationPlugins]
	if !ok {
		return ""
	}
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// chains says of each object that has a chain what it is and whether it is right. What
// depends on running, somebody else fills in.
func (s *statuses) chains() {
	for o, c := range s.chained {
		isController := true
		made := &api.ChainStatus{
			TypeMeta: metav1.TypeMeta{APIVersion: api.GroupVersion.String(), Kind: "ChainStatus"},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: o.Namespace, Name: chainStatusName(o),
				OwnerReferences: []metav1.OwnerReference{{APIVersion: apiVersion(o.Kind), Kind: o.Kind, Name: o.Name, UID: c.GetUID(), Controller: &isController}},
			},
			Target: api.ChainTarget{Kind: o.Kind, Name: o.Name},
		}
		switch o.Kind {
		case "Service":
		case "Consumer":
			made.Target.Group = api.Group
		default:
			made.Target.Group = gatewayv1.GroupName
		}
		mine := api.ChainController{ControllerName: s.t.o.ControllerName, ObservedHash: observedHash(c), Conditions: s.chainConditions(o, c)}
		for _, p := range c.parts {
			filters := p.Filters
			if p.Fault != nil && p.Fallback != nil {
				filters = p.Fallback.Filters // they serve
			}
			for _, f := range filters {
				one := api.ChainFilter{
					Name: f.ID(), Hash: f.Declaration, Image: f.Image,
					Origin: api.ChainOrigin{Kind: f.Owner.Kind, Namespace: f.Owner.Namespace, Name: f.Owner.Name, Plugin: f.Plugin, Version: f.PluginVersion},
				}
				if b := s.o.RollBacks[f.Declaration]; f.RolledBack != "" && b != nil {
					b.tell(&one)
				}
				mine.Filters = append(mine.Filters, one)
			}
		}
		made.Status.Controllers = []api.ChainController{mine}
		id := config.Object{Kind: "ChainStatus", Namespace: o.Namespace, Name: made.Name}
		set(s, id, made)
		hashes := make([]string, len(c.parts))
		for i, p := range c.parts {
			hashes[i] = p.Hash
		}
		s.chainParts[id] = hashes
	}
}

func apiVersion(kind string) string {
	switch kind {
	case "Service":
		return "v1"
	case "Consumer":
		return api.GroupVersion.String()
	}
	return gatewayv1.GroupVersion.String()
}

// chainConditions says whether a chain could be made of what is written, and whether
// all that it names is there.
func (s *statuses) chainConditions(o config.Object, c *chained) []metav1.Condition {
	var fault *verdict
	for _, p := range s.problems[o] {
		if fault == nil && (p.Field == "metadata.annotations" || p.Reason == "PluginsNotApplicable") {
			fault = &verdict{p.Reason, p.Message}
		}
	}
	for _, p := range c.parts {
		if fault == nil && p.Fault != nil {
			fault = &verdict{p.Fault.Reason, p.Fault.Message}
		}
	}
	accepted, resolved := holds(api.ConditionAccepted, "Accepted", c), holds(api.ConditionResolvedRefs, "ResolvedRefs", c)
	if fault == nil {
		return []metav1.Condition{accepted, resolved}
	}
	accepted = fails(api.ConditionAccepted, fault, c)
	if fault.reason == "UnknownPlugin" || fault.reason == "SecretMissing" {
		resolved = fails(api.ConditionResolvedRefs, fault, c)
	} else { // nobody looked further
		resolved = metav1.Condition{Type: api.ConditionResolvedRefs, Status: metav1.ConditionUnknown, Reason: fault.reason, ObservedGeneration: c.GetGeneration()}
	}
	return []metav1.Condition{accepted, resolved}
}
