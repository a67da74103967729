package node

import (
	"context"
	"fmt"
	"runtime"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// port is where the agent serves logs and exec to the API server.
const port = 10250

// leasePeriod is how often the agent says that it lives; the testbed's controller
// manager waits five times as long.
const leasePeriod = 2 * time.Second

// register makes the Node object, or takes over the one that is there.
func (a *Agent) register(ctx context.Context) error {
	want := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: a.config.Name, Labels: map[string]string{
			corev1.LabelHostname: a.config.Name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH,
			corev1.LabelTopologyZone: a.config.Zone, corev1.LabelTopologyRegion: "testbed",
		}},
		Spec: corev1.NodeSpec{PodCIDR: a.config.PodNetwork, PodCIDRs: []string{a.config.PodNetwork}},
	}
	nodes := a.client.CoreV1().Nodes()
	n, err := nodes.Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		n, err = nodes.Get(ctx, a.config.Name, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	for {
		a.describe(n)
		_, err = nodes.UpdateStatus(ctx, n, metav1.UpdateOptions{})
		if !apierrors.IsConflict(err) { // controllers write to a new node too
			break
		}
		if n, err = nodes.Get(ctx, a.config.Name, metav1.GetOptions{}); err != nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("register: %w", err)
	}
	return nil
}

// describe writes the node's status.
func (a *Agent) describe(n *corev1.Node) {
	now := metav1.Now()
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: a.config.Address}, {Type: corev1.NodeHostName, Address: a.config.Name}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = port
	n.Status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("64"), corev1.ResourceMemory: resource.MustParse("256Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("256Gi"), corev1.ResourcePods: resource.MustParse("240"),
	}
	n.Status.Allocatable = n.Status.Capacity
	n.Status.NodeInfo.OperatingSystem, n.Status.NodeInfo.Architecture = "linux", runtime.GOARCH
	n.Status.NodeInfo.KubeletVersion, n.Status.NodeInfo.ContainerRuntimeVersion = "testbed", "testbed://1"
	n.Status.Conditions = nil
	for t, status := range map[corev1.NodeConditionType]corev1.ConditionStatus{
		corev1.NodeReady: corev1.ConditionTrue, corev1.NodeMemoryPressure: corev1.ConditionFalse,
		corev1.NodeDiskPressure: corev1.ConditionFalse, corev1.NodePIDPressure: corev1.ConditionFalse,
	} {
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: t, Status: status, Reason: "Testbed", LastHeartbeatTime: now, LastTransitionTime: now})
	}
}

// renewLease says that the node lives, and that it is ready again if somebody
// has given it up meanwhile.
func (a *Agent) renewLease(ctx context.Context) {
	leases := a.client.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	for {
		now := metav1.NowMicro()
		seconds := int32(5 * leasePeriod / time.Second)
		l, err := leases.Get(ctx, a.config.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: a.config.Name}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &a.config.Name, LeaseDurationSeconds: &seconds, RenewTime: &now}}
			_, err = leases.Create(ctx, l, metav1.CreateOptions{})
		} else if err == nil {
			l.Spec.RenewTime = &now
			_, err = leases.Update(ctx, l, metav1.UpdateOptions{})
		}
		if err == nil {
			err = a.affirm(ctx)
		}
		if err != nil && ctx.Err() == nil {
			a.log.Printf("lease: %v", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(leasePeriod):
		}
	}
}

func (a *Agent) affirm(ctx context.Context) error {
	n, err := a.client.CoreV1().Nodes().Get(ctx, a.config.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return a.register(ctx)
	}
	if err != nil {
		return err
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return a.register(ctx)
		}
	}
	return nil
}
