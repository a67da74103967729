package cluster

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"penstock.dev/penstock/core/config"
)

// labelGatewayUID marks the Services that are made for Gateways.
const labelGatewayUID = "penstock.dev/gateway-uid"

// infrastructure reports whether an object is a Gateway's Service or ServiceAccount.
func infrastructure(o config.Object) bool { return o.Kind == "Service" || o.Kind == "ServiceAccount" }

// queueInfrastructure queues what Gateways lack, and what no Gateway wants any
// more. w.mu is held.
func (w *writer) queueInfrastructure() {
	wanted := w.provisions()
	for o, want := range wanted {
		version := ""
		if current, ok := w.stores.find(o); ok {
			version = current.GetResourceVersion()
		}
		if !w.seen[o].is(digest(want), "", version) {
			w.queue.Add(o)
		}
	}
	for _, s := range w.stores.services.list() {
		o := config.Object{Kind: "Service", Namespace: s.Namespace, Name: s.Name}
		if s.Namespace == w.namespace && s.Labels[labelGatewayUID] != "" && wanted[o] == nil {
			w.queue.Add(o)
		}
	}
	for o := range w.seen {
		if infrastructure(o) && wanted[o] == nil {
			delete(w.seen, o)
		}
	}
}

// provisions is what the Gateways should have. w.mu is held.
func (w *writer) provisions() map[config.Object]object {
	all := map[config.Object]object{}
	for _, s := range w.wanted.Services {
		all[config.Object{Kind: "Service", Namespace: s.Namespace, Name: s.Name}] = s
	}
	for _, a := range w.wanted.ServiceAccounts {
		all[config.Object{Kind: "ServiceAccount", Namespace: a.Namespace, Name: a.Name}] = a
	}
	return all
}

// provide makes one Service or ServiceAccount what its Gateway wants, or takes it
// away. A ServiceAccount goes with its Gateway, which owns it.
func (w *writer) provide(ctx context.Context, o config.Object) error {
	w.mu.Lock()
	var want object
	if w.wanted != nil {
		want = w.provisions()[o]
	}
	w.mu.Unlock()
	current, ok := w.stores.find(o)
	resource := "services"
	if o.Kind == "ServiceAccount" {
		resource = "serviceaccounts"
	}
	client := w.clients.byGV[corev1.SchemeGroupVersion]
	if want == nil {
		if !ok || o.Kind == "ServiceAccount" {
			return nil
		}
		uid := current.GetUID()
		err := client.Delete().Namespace(o.Namespace).Resource(resource).Name(o.Name).
			Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}).Do(ctx).Error()
		w.count(o.Kind, err)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			err = nil
		}
		return err
	}
	text, err := json.Marshal(want)
	if err != nil {
		return err
	}
	// Fields that are not named stay as they are: addresses, and what others set.
	made := want.DeepCopyObject().(object)
	err = client.Patch(types.ApplyPatchType).Namespace(o.Namespace).Resource(resource).Name(o.Name).
		Param("fieldManager", fieldManager).Param("force", "true").Body(text).Do(ctx).Into(made)
	w.count(o.Kind, err)
	if err != nil {
		return err
	}
	before := made.GetResourceVersion()
	if ok {
		before = current.GetResourceVersion()
	}
	w.mu.Lock()
	w.seen[o] = written{digest(want), "", before, made.GetResourceVersion()}
	w.mu.Unlock()
	return nil
}

// digest tells wanted objects apart.
func digest(o object) string {
	text, err := json.Marshal(o)
	if err != nil {
		panic("BUG: not JSON: " + err.Error())
	}
	return string(text)
}
