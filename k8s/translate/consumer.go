package translate

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// consumers is what a Translator knows of Consumers. One that changes is looked at with
// those that it shares a username or a credential with, and with no others.
type consumers struct {
	all    map[string]*consumer          // by namespace/name
	users  map[string]map[*consumer]bool // of a Secret, by its namespace/name
	claims map[claim]*claimants
	faulty map[*consumer]bool // of which something is to be told
	served config.Overlay[string, *config.Consumer]
	grants *config.ConsumerGrants
	// touched are those to be looked at again, or to be forgotten.
	touched map[string]*consumer
}

// claim is what one Consumer of a namespace alone can have: a username, or else a
// credential.
type claim struct {
	namespace, username string
	id                  config.CredentialDigest
}

// claimants are the Consumers with the same claim. The oldest one has it.
type claimants struct {
	all   map[*consumer]bool
	owner *consumer
}

// consumer is a Consumer as it was read.
type consumer struct {
	key     string
	object  *api.Consumer
	version string           // of it
	secrets []*corev1.Secret // of its credentials; nil: there is none
	// asked is what it asks for, own what is wrong with it by itself; at are the places
	// of the credentials in its list.
	asked *config.Consumer // nil: it cannot be found
	at    []int
	own   []Problem
	// told is what is wrong with it, served what comes of it.
	told   []Problem
	served *config.Consumer
	// chain is what it runs, nil: nothing; faults what is wrong with that.
	chain  *config.Chain
	faults []Problem
}

// older orders Consumers by who has what both claim.
func (c *consumer) older(other *consumer) int {
	return cmp.Or(c.object.CreationTimestamp.Compare(other.object.CreationTimestamp.Time), cmp.Compare(c.key, other.key))
}

func newConsumers() consumers {
	return consumers{
		all: map[string]*consumer{}, users: map[string]map[*consumer]bool{}, claims: map[claim]*claimants{},
		faulty: map[*consumer]bool{}, touched: map[string]*consumer{},
	}
}

// consumers puts the Consumers into the config.
func (r *run) consumers() {
	s := &r.t.consumers
	if i := slices.IndexFunc(r.byName, func(g *gateway) bool { return g.parameters != nil }); i >= 0 {
		r.current = r.byName[i].parameters // whose Redis their plugins use
		defer func() { r.current = r.t.o.Parameters }()
	}
	present := make(map[string]bool, len(r.o.Consumers))
	for _, o := range r.o.Consumers {
		present[o.Namespace+"/"+o.Name] = true
		r.readConsumer(o)
	}
	for key, one := range s.all {
		if !present[key] {
			s.leave(one)
		}
	}
	s.settle()
	for one := range s.faulty {
		r.problems = append(r.problems, one.told...)
	}
	r.config.Consumers = s.served
	if grants := consumerGrants(r.o.ReferenceGrants, r.t.o.InstallNamespace); !grants.Equal(s.grants) {
		s.grants = grants
	}
	r.config.ConsumerGrants = s.grants
}

// credentialsOf names all Secrets of credentials of a namespace among references.
func credentialsOf(namespace string) config.Object {
	return config.Object{Kind: "Secret", Namespace: namespace}
}

// readConsumer reads a Consumer, unless it and its Secrets are as they were.
func (r *run) readConsumer(o *api.Consumer) {
	s, key := &r.t.consumers, o.Namespace+"/"+o.Name
	switch secrets := credentialsOf(o.Namespace); {
	case len(o.Spec.Credentials) == 0 || r.references[secrets]:
	case r.changing: // nobody has read them yet
		r.beyond = true
	default:
		r.references[secrets] = true
	}
	one := &consumer{key: key, object: o, version: version(o)}
	one.chain, one.faults = r.consumerChain(o)
	for _, ref := range o.Spec.Credentials[:min(len(o.Spec.Credentials), api.MaxConsumerCredentials)] {
		one.secrets = append(one.secrets, r.credentials[o.Namespace+"/"+ref.Name])
	}
	old := s.all[key]
	if old != nil && old.chain != nil && r.changing {
		r.beyond = true // its part is gone, or another one
	}
	if old != nil && old.version == one.version && old.chain == one.chain && slices.Equal(old.faults, one.faults) && slices.EqualFunc(old.secrets, one.secrets, sameSecret) && len(r.o.Unread) == 0 {
		old.object, old.secrets = o, one.secrets
		return
	}
	r.judgeConsumer(one)
	if old != nil {
		one.served = old.served
		s.leave(old)
	}
	s.enter(one)
}

func sameSecret(a, b *corev1.Secret) bool {
	return a == b || a != nil && b != nil && version(a) == version(b)
}

// judgeConsumer says what a Consumer asks for, and what is wrong with it by itself.
func (r *run) judgeConsumer(one *consumer) {
	o := one.object
	about := object("Consumer", o)
	wrong := func(field, reason, format string, args ...any) {
		one.own = append(one.own, Problem{Object: about, Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
	one.asked = &config.Consumer{Namespace: o.Namespace, Name: o.Name, Username: cmp.Or(o.Spec.Username, o.Name), Groups: slices.Clone(o.Spec.Groups), Chain: one.chain}
	const want = "want visible ASCII characters without spaces, commas and quotes, at most %d"
	if !config.ConsumerText(one.asked.Username) {
		wrong("spec.username", "Invalid", "%.60q: "+want, one.asked.Username, api.MaxConsumerText)
	}
	if n := len(o.Spec.Groups); n > api.MaxConsumerGroups {
		wrong("spec.groups", "Invalid", "%d groups, at most %d", n, api.MaxConsumerGroups)
	}
	for i, g := range o.Spec.Groups[:min(len(o.Spec.Groups), api.MaxConsumerGroups)] {
		if !config.ConsumerText(g) {
			wrong(fmt.Sprintf("spec.groups[%d]", i), "Invalid", "%.60q: "+want, g, api.MaxConsumerText)
		} else if slices.Contains(o.Spec.Groups[:i], g) {
			wrong(fmt.Sprintf("spec.groups[%d]", i), "Invalid", "%.60q is there twice", g)
		}
	}
	if n := len(o.Spec.Credentials); n > api.MaxConsumerCredentials {
		wrong("spec.credentials", "Invalid", "%d credentials, at most %d: make another Consumer", n, api.MaxConsumerCredentials)
	}
	if len(one.own) > 0 { // nobody is found rather than somebody with other groups
		one.asked = nil
		return
	}
	for i, ref := range o.Spec.Credentials {
		field := fmt.Sprintf("spec.credentials[%d].name", i)
		secret := one.secrets[i]
		if secret == nil {
			wrong(field, "SecretMissing", "%s", r.noCredential(o.Namespace, ref.Name))
			continue
		}
		made, err := credential(secret)
		switch {
		case err != nil:
			wrong(field, "InvalidCredential", "Secret %s: %v", ref.Name, err)
		case slices.ContainsFunc(one.asked.Credentials, func(c config.Credential) bool { return c.ID == made.ID }):
			wrong(field, "InvalidCredential", "Secret %s: the same credential as another one of this Consumer", ref.Name)
		default:
			one.asked.Credentials, one.at = append(one.asked.Credentials, made), append(one.at, i)
		}
	}
}

// noCredential says why there is no Secret of that name for a Consumer.
func (r *run) noCredential(namespace, name string) string {
	if r.secrets[namespace+"/"+name] != nil {
		return fmt.Sprintf("Secret %s does not carry the label %s, so that it is not read: want key-auth, basic-auth, jwt or mtls-auth", name, api.LabelCredential)
	}
	if u := r.unread(config.Object{Kind: "Secret", Namespace: namespace, Name: name}); u != nil {
		return fmt.Sprintf("%s cannot be read", u)
	}
	return fmt.Sprintf("there is no Secret %s with the label %s in namespace %s: want one with key-auth, basic-auth, jwt or mtls-auth", name, api.LabelCredential, namespace)
}

// claimed returns what a Consumer claims: its username, then its credentials.
func (c *consumer) claimed() []claim {
	if c.asked == nil {
		return nil
	}
	all := []claim{{namespace: c.asked.Namespace, username: c.asked.Username}}
	for i := range c.asked.Credentials {
		all = append(all, claim{namespace: c.asked.Namespace, id: c.asked.Credentials[i].ID})
	}
	return all
}

// enter adds a Consumer.
func (s *consumers) enter(one *consumer) {
	s.all[one.key], s.touched[one.key] = one, one
	for _, ref := range one.object.Spec.Credentials {
		name := one.object.Namespace + "/" + ref.Name
		if s.users[name] == nil {
			s.users[name] = map[*consumer]bool{}
		}
		s.users[name][one] = true
	}
	for _, c := range one.claimed() {
		at := s.claims[c]
		if at == nil {
			at = &claimants{all: map[*consumer]bool{}}
			s.claims[c] = at
		}
		at.all[one] = true
		if at.owner == nil || one.older(at.owner) < 0 {
			at.owner = one
			s.touch(at)
		}
	}
}

// leave takes a Consumer out.
func (s *consumers) leave(one *consumer) {
	delete(s.all, one.key)
	delete(s.faulty, one)
	s.touched[one.key] = nil
	for _, ref := range one.object.Spec.Credentials {
		name := one.object.Namespace + "/" + ref.Name
		if delete(s.users[name], one); len(s.users[name]) == 0 {
			delete(s.users, name)
		}
	}
	for _, c := range one.claimed() {
		at := s.claims[c]
		if delete(at.all, one); len(at.all) == 0 {
			delete(s.claims, c)
			continue
		}
		if at.owner != one {
			continue
		}
		at.owner = nil
		for other := range at.all {
			if at.owner == nil || other.older(at.owner) < 0 {
				at.owner = other
			}
		}
		s.touch(at)
	}
}

// touch has all claimants looked at again: who has it is another one.
func (s *consumers) touch(at *claimants) {
	for one := range at.all {
		s.touched[one.key] = one
	}
}

// settle says of those that were touched what comes of them, and returns their keys.
func (s *consumers) settle() (keys []string) {
	changed := map[string]*config.Consumer{}
	for key, one := range s.touched {
		keys = append(keys, key)
		if one == nil {
			changed[key] = nil
			continue
		}
		s.resolve(one)
		if s.served.Of(key) != one.served {
			changed[key] = one.served
		}
		if delete(s.faulty, one); len(one.told) > 0 {
			s.faulty[one] = true
		}
	}
	clear(s.touched)
	if s.served.Len() == 0 {
		s.served = config.OverlayOf(present(changed))
	} else {
		s.served = s.served.With(changed)
	}
	return keys
}

// present drops what is nil of a map.
func present(all map[string]*config.Consumer) map[string]*config.Consumer {
	for key, one := range all {
		if one == nil {
			delete(all, key)
		}
	}
	return all
}

// resolve says what a Consumer has of what it claims.
func (s *consumers) resolve(one *consumer) {
	one.told = slices.Concat(one.own, one.faults)
	var made *config.Consumer
	for i, c := range one.claimed() {
		owner := s.claims[c].owner
		switch {
		case i == 0 && owner != one:
			one.told = append(one.told, Problem{Object: object("Consumer", one.object), Field: "spec.username", Reason: "UsernameTaken", Message: fmt.Sprintf(
				"Consumer %s is older and has the username %s: give this one another", owner.object.Name, one.asked.Username)})
			one.served = nil
			return
		case i == 0:
			copied := *one.asked
			copied.Credentials = nil
			made = &copied
		case owner != one:
			at := one.at[i-1]
			one.told = append(one.told, Problem{Object: object("Consumer", one.object), Field: fmt.Sprintf("spec.credentials[%d].name", at), Reason: "CredentialTaken", Message: fmt.Sprintf(
				"Secret %s: Consumer %s is older and has the same credential: each belongs to one", one.object.Spec.Credentials[at].Name, owner.object.Name)})
		default:
			made.Credentials = append(made.Credentials, one.asked.Credentials[i-1])
		}
	}
	if one.served == nil || !one.served.Equal(made) {
		one.served = made
	}
}
