package cases

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/hosts/capability/consumer"
)

// Consumer is who sent a request.
type Consumer struct {
	Name   string   `yaml:"name"`
	Groups []string `yaml:"groups"`
}

// Known is who sent a request, as filters before the plugin have found out.
type Known struct {
	Consumer `yaml:",inline"`
	// Claims are what a token says that was checked.
	Claims map[string]any `yaml:"claims"`

	json []byte // the claims
}

func (k *Known) check(what string) (err error) {
	if k == nil {
		return nil
	}
	if k.Claims != nil {
		if k.json, err = json.Marshal(k.Claims); err != nil {
			return fmt.Errorf("%s.claims: %w", what, err)
		}
		if k.Name == "" && len(k.Groups) == 0 {
			return nil
		}
	}
	return k.Consumer.check(what)
}

// Someone is a Consumer object that the plugin can find.
type Someone struct {
	Consumer `yaml:",inline"`
	// Namespace is another one than the plugin's, whose ReferenceGrant permits it; empty:
	// the plugin's.
	Namespace   string       `yaml:"namespace"`
	Credentials []Credential `yaml:"credentials"`
}

// Credential is what a Someone is found by.
type Credential struct {
	Type string `yaml:"type"` // "key-auth", "basic-auth", "jwt"
	ID   string `yaml:"id"`   // what it is looked up by: the key, the username, the issuer
	Data Data   `yaml:"data"` // what the plugin gets, as config.Credential.Data
}

// Data is what a request is to be checked by: a kind, as "password", and the text.
type Data []byte

// UnmarshalYAML implements yaml.Unmarshaler: a map with one element. Bytes are !!binary.
func (d *Data) UnmarshalYAML(n *yaml.Node) error {
	var m map[string]string
	if err := n.Decode(&m); err != nil {
		return err
	}
	if len(m) != 1 {
		return fmt.Errorf("line %d: data: want one thing that the plugin checks by, such as {password: hush}", n.Line)
	}
	for how, text := range m {
		*d = []byte(how + "\x00" + text)
	}
	return nil
}

// check finds what a Consumer cannot be.
func (c *Consumer) check(what string) error {
	if c == nil {
		return nil
	}
	if !config.ConsumerText(c.Name) || slices.ContainsFunc(c.Groups, func(g string) bool { return !config.ConsumerText(g) }) || len(c.Groups) > config.MaxConsumerGroups {
		return fmt.Errorf("%s: want a name, and groups, of visible ASCII characters without spaces, commas and quotes", what)
	}
	return nil
}

// someone finds what Consumer objects cannot be.
func someone(list []Someone) error {
	seen := map[string]bool{}
	for i := range list {
		s := &list[i]
		what := fmt.Sprintf("consumers[%d]", i)
		if err := s.check(what); err != nil {
			return err
		}
		if len(s.Credentials) > config.MaxConsumerCredentials {
			return fmt.Errorf("%s.credentials: more than %d", what, config.MaxConsumerCredentials)
		}
		for j, c := range s.Credentials {
			if c.Type == "" || c.ID == "" {
				return fmt.Errorf("%s.credentials[%d]: want a type and an id", what, j)
			}
			id := s.Namespace + " " + c.Type + " " + c.ID
			if seen[id] {
				return fmt.Errorf("%s.credentials[%d]: another one of the namespace is the same", what, j)
			}
			seen[id] = true
			if len(c.Data) > config.MaxCredentialData {
				return errors.New(what + ": more data than a Secret can hold")
			}
		}
	}
	return nil
}

// index has the Consumer objects of a case.
func index(list []Someone, f *config.Filter) *consumer.Index {
	all, grants := map[string]*config.Consumer{}, &config.ConsumerGrants{}
	for i, s := range list {
		made := &config.Consumer{Namespace: s.Namespace, Name: fmt.Sprint(i), Username: s.Name, Groups: s.Groups}
		if made.Namespace == "" {
			made.Namespace = f.Namespace
		}
		for _, c := range s.Credentials {
			made.Credentials = append(made.Credentials, config.Credential{Type: c.Type, ID: config.CredentialID(c.Type, []byte(c.ID)), Data: c.Data})
		}
		all[made.Object()] = made
		grants.List = append(grants.List, config.ConsumerGrant{FromKind: f.Owner.Kind, FromNamespace: f.Namespace, Namespace: made.Namespace})
	}
	x := new(consumer.Index)
	x.Apply(config.OverlayOf(all), grants)
	return x
}
