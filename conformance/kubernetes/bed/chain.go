package bed

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Chain is what a ChainStatus says in the name of the one controller there is.
type Chain struct {
	ObservedHash string             `json:"observedHash"`
	Proxies      string             `json:"proxies"`
	Conditions   []metav1.Condition `json:"conditions"`
	Filters      []Filter           `json:"filters"`
}

// Filter is a filter of a Chain.
type Filter struct {
	Name, Image, Digest, State, Reason, Message string
}

// Is returns a condition's status and reason as "True Accepted", "" if it is not there.
func (c *Chain) Is(kind string) string {
	for _, x := range c.Conditions {
		if x.Type == kind {
			return string(x.Status) + " " + x.Reason
		}
	}
	return ""
}

// String returns what tells one state from another: all but messages and times.
func (c *Chain) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", c.ObservedHash, c.Proxies)
	for _, x := range c.Conditions {
		fmt.Fprintf(&b, " %s=%s/%s", x.Type, x.Status, x.Reason)
	}
	for _, f := range c.Filters {
		fmt.Fprintf(&b, " %s=%s/%s/%.15s", f.Name, f.State, f.Reason, f.Digest)
	}
	return b.String()
}

// ReadChain takes a Chain out of a ChainStatus.
func ReadChain(o *unstructured.Unstructured) (*Chain, error) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "controllers")
	if len(list) != 1 {
		return nil, fmt.Errorf("%d controllers", len(list))
	}
	text, err := json.Marshal(list[0])
	if err != nil {
		return nil, err
	}
	var c Chain
	return &c, json.Unmarshal(text, &c)
}

// Chain returns the ChainStatus of an object, named "service-shop".
func (b *Bed) Chain(ctx context.Context, namespace, name string) (*Chain, error) {
	o, err := b.Dynamic.Resource(chainResource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return ReadChain(o)
}

// WatchChains calls tell for each version of the ChainStatuses of a namespace until
// ctx is done; nil stands for one that is deleted.
func (b *Bed) WatchChains(ctx context.Context, namespace string, tell func(name string, c *Chain)) error {
	w, err := b.Dynamic.Resource(chainResource).Namespace(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	go func() {
		defer w.Stop()
		for e := range w.ResultChan() {
			o, ok := e.Object.(*unstructured.Unstructured)
			if !ok {
				return
			}
			if e.Type == "DELETED" {
				tell(o.GetName(), nil)
			} else if c, err := ReadChain(o); err == nil {
				tell(o.GetName(), c)
			}
		}
	}()
	return nil
}

// Hash is what observedHash should be for an annotation's text.
func Hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
