package node

import (
	"context"
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// writeStatus writes the Pod's status whenever it has changed, until ctx is done.
func (p *pod) writeStatus(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.changed:
		}
		p.flushStatus(ctx)
	}
}

// flushStatus writes the status if it is another than the API server has.
func (p *pod) flushStatus(ctx context.Context) {
	status := p.status()
	old := p.object().Status
	if equality.Semantic.DeepEqual(trim(old), trim(status)) {
		return
	}
	patch, err := p.statusPatch(status)
	if err != nil {
		p.agent.log.Printf("%s/%s: status: %v", p.namespace, p.name, err)
		return
	}
	got, err := p.agent.client.CoreV1().Pods(p.namespace).Patch(ctx, p.name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	switch {
	case err == nil:
		p.mu.Lock()
		p.spec.Status = got.Status // by value: the informer's object is another
		p.mu.Unlock()
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), ctx.Err() != nil:
	default:
		p.agent.log.Printf("%s/%s: status: %v", p.namespace, p.name, err)
		time.AfterFunc(300*time.Millisecond, p.report)
	}
}

// statusPatch makes a strategic merge patch. It merges conditions field by field,
// so what one has not any more must be null, and addresses one by one.
func (p *pod) statusPatch(status corev1.PodStatus) ([]byte, error) {
	text, err := json.Marshal(status)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	for _, name := range []string{"podIPs", "hostIPs"} {
		if list, ok := fields[name].([]any); ok {
			fields[name] = append([]any{map[string]any{"$patch": "replace"}}, list...)
		}
	}
	for _, c := range fields["conditions"].([]any) {
		for _, name := range []string{"reason", "message"} {
			if c := c.(map[string]any); c[name] == nil {
				c[name] = nil
			}
		}
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.uid}, "status": fields})
}

// trim leaves what this agent decides about.
func trim(s corev1.PodStatus) corev1.PodStatus {
	s.QOSClass, s.ObservedGeneration, s.StartTime = "", 0, nil
	kept := []corev1.PodCondition{}
	for _, c := range s.Conditions {
		if ours[c.Type] {
			kept = append(kept, corev1.PodCondition{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message})
		}
	}
	order(kept)
	s.Conditions = kept
	return s
}

// order is that of conditionTypes.
func order(all []corev1.PodCondition) {
	for i := range all {
		for j := i; j > 0 && index(all[j].Type) < index(all[j-1].Type); j-- {
			all[j], all[j-1] = all[j-1], all[j]
		}
	}
}

var conditionTypes = []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReady}

var ours = map[corev1.PodConditionType]bool{corev1.PodReadyToStartContainers: true, corev1.PodInitialized: true, corev1.ContainersReady: true, corev1.PodReady: true}

func index(t corev1.PodConditionType) int {
	for i, known := range conditionTypes {
		if t == known {
			return i
		}
	}
	return len(conditionTypes)
}

// status is what a kubelet would say of the Pod.
func (p *pod) status() corev1.PodStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := corev1.PodStatus{
		Phase: corev1.PodPending, StartTime: &p.began,
		HostIP: p.agent.config.Address, HostIPs: []corev1.HostIP{{IP: p.agent.config.Address}},
	}
	if p.sandbox != nil {
		s.PodIP = p.sandbox.addr.String()
		s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	}
	allReady, allBegun := true, true
	for _, c := range p.containers {
		one := c.status()
		if c.kind == ordinary {
			s.ContainerStatuses = append(s.ContainerStatuses, one)
		} else {
			s.InitContainerStatuses = append(s.InitContainerStatuses, one)
		}
		if c.kind != initial && !one.Ready {
			allReady = false
		}
		if c.kind == ordinary && c.process == nil {
			allBegun = false
		}
	}
	switch {
	case p.phase != "":
		s.Phase = p.phase
	case p.inited && allBegun:
		s.Phase = corev1.PodRunning
	}
	allReady = allReady && p.inited && p.phase == ""
	s.Conditions = p.conditions(allReady)
	return s
}

func (c *container) status() corev1.ContainerStatus {
	started := c.started
	ready := c.ready
	if c.kind == initial {
		ready = c.state.Terminated != nil && c.state.Terminated.ExitCode == 0
	}
	return corev1.ContainerStatus{
		Name: c.spec.Name, Image: c.spec.Image, ImageID: c.spec.Image, ContainerID: c.id,
		State: c.state, LastTerminationState: c.last, RestartCount: c.restarts, Ready: ready, Started: &started,
	}
}

// conditions keeps the times of those that have not changed. Called with mu held.
func (p *pod) conditions(allReady bool) []corev1.PodCondition {
	now := metav1.Now()
	old := map[corev1.PodConditionType]corev1.PodCondition{}
	for _, c := range p.spec.Status.Conditions {
		old[c.Type] = c
	}
	ready, reason := allReady, ""
	for _, gate := range p.spec.Spec.ReadinessGates {
		if old[gate.ConditionType].Status != corev1.ConditionTrue {
			ready = false
			reason = "ReadinessGatesNotReady"
		}
	}
	if !allReady {
		reason = "ContainersNotReady"
	}
	if p.phase == corev1.PodSucceeded {
		reason = "PodCompleted"
	}
	var all []corev1.PodCondition
	for _, t := range conditionTypes {
		c := corev1.PodCondition{Type: t, Status: corev1.ConditionFalse, LastTransitionTime: now}
		var ok bool
		switch t {
		case corev1.PodReadyToStartContainers:
			ok = p.ready
		case corev1.PodInitialized:
			if ok = p.inited; !ok {
				c.Reason = "ContainersNotInitialized"
			}
		case corev1.ContainersReady:
			if ok = allReady; !ok {
				c.Reason = "ContainersNotReady"
			}
		case corev1.PodReady:
			if ok = ready; !ok {
				c.Reason = reason
			}
		}
		if ok {
			c.Status = corev1.ConditionTrue
		}
		if o := old[t]; o.Status == c.Status {
			c.LastTransitionTime = o.LastTransitionTime
		}
		all = append(all, c)
	}
	return all
}

// remove tells the API server that nothing of the Pod is left.
func (p *pod) remove(ctx context.Context) {
	if p.object().DeletionTimestamp == nil {
		return // it has done its work and stays to be seen
	}
	zero := int64(0)
	for ctx.Err() == nil {
		err := p.agent.client.CoreV1().Pods(p.namespace).Delete(ctx, p.name, metav1.DeleteOptions{GracePeriodSeconds: &zero, Preconditions: &metav1.Preconditions{UID: &p.uid}})
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}
