package translate

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// consumers takes over the changed Consumers and their Secrets; false: a namespace has
// its first ones, whose Secrets nobody has read yet.
func (c *change) consumers() bool {
	s := &c.t.consumers
	for name, secret := range c.changes.Credentials {
		if secret == nil {
			delete(c.credentials, name)
		} else {
			c.credentials[name] = secret
		}
	}
	for name, o := range c.changes.Consumers {
		if o != nil {
			c.readConsumer(o)
		} else if one := s.all[name]; one != nil {
			c.beyond = c.beyond || one.chain != nil
			s.leave(one)
		}
	}
	for name := range c.changes.Credentials {
		for _, one := range slices.Collect(maps.Keys(s.users[name])) {
			c.readConsumer(one.object)
		}
	}
	c.altered = s.settle()
	for _, key := range c.altered {
		if one := s.all[key]; one != nil {
			c.problems = append(c.problems, one.told...)
		}
	}
	c.run.config.Consumers = s.served
	return !c.beyond
}

// consumer says of a Consumer whether it can be found, and whether its credentials are
// all there.
func (s *statuses) consumer(c *api.Consumer) {
	o := object("Consumer", c)
	accepted, resolved := holds(api.ConditionAccepted, "Accepted", c), holds("ResolvedRefs", "ResolvedRefs", c)
	var own, secrets []*Problem
	for _, p := range s.problems[o] {
		if strings.HasPrefix(p.Field, "spec.credentials[") {
			secrets = append(secrets, p)
		} else {
			own = append(own, p)
		}
	}
	if len(own) > 0 {
		accepted = fails(api.ConditionAccepted, &verdict{own[0].Reason, messages(own)}, c)
	}
	if len(secrets) > 0 {
		resolved = fails("ResolvedRefs", &verdict{secrets[0].Reason, messages(secrets)}, c)
	}
	set(s, o, &api.ObjectStatus{Conditions: []metav1.Condition{accepted, resolved}})
}

// consumerGrants returns what ReferenceGrants say of Consumers; nil: nothing.
func consumerGrants(list []*gatewayv1beta1.ReferenceGrant, install string) *config.ConsumerGrants {
	groups := map[string]string{
		"Service": "", "Ingress": "networking.k8s.io", "PluginChain": api.Group, "PluginPolicy": api.Group,
		"Gateway": gatewayv1.GroupName, "HTTPRoute": gatewayv1.GroupName, "GRPCRoute": gatewayv1.GroupName, "TCPRoute": gatewayv1.GroupName, "TLSRoute": gatewayv1.GroupName,
	}
	made := &config.ConsumerGrants{}
	for _, g := range list {
		for _, to := range g.Spec.To {
			if to.Group != api.Group || to.Kind != "Consumer" {
				continue
			}
			for _, from := range g.Spec.From {
				group, known := groups[string(from.Kind)]
				if !known || string(from.Group) != group || from.Kind == "PluginPolicy" && string(from.Namespace) != install {
					continue
				}
				made.List = append(made.List, config.ConsumerGrant{FromKind: string(from.Kind), FromNamespace: string(from.Namespace), Namespace: g.Namespace, Name: value(to.Name)})
			}
		}
	}
	if len(made.List) == 0 {
		return nil
	}
	slices.SortFunc(made.List, func(a, b config.ConsumerGrant) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.FromNamespace, b.FromNamespace), cmp.Compare(a.FromKind, b.FromKind))
	})
	made.List = slices.Compact(made.List)
	return made
}
