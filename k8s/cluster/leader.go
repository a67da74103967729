package cluster

import (
	"context"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leaseName is the Lease that the process which writes holds.
const leaseName = "penstock"

// Times of the Lease: those of Kubernetes' own controllers.
const (
	leaseDuration = 15 * time.Second
	leaseRenew    = 10 * time.Second
	leaseRetry    = 2 * time.Second
)

// elect takes part in the election until ctx is done: one process writes, the
// others translate and wait. It tells lead when this one begins and ends to lead.
func elect(ctx context.Context, config *rest.Config, o Options, lead func(bool)) error {
	cfg := rest.CopyConfig(config)
	cfg.Timeout = leaseRenew / 2
	client, err := coordinationclient.NewForConfig(cfg)
	if err != nil {
		return err
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: o.Namespace, Name: leaseName},
		Client:     client,
		LockConfig: resourcelock.ResourceLockConfig{Identity: o.Identity},
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leaseDuration, RenewDeadline: leaseRenew, RetryPeriod: leaseRetry, ReleaseOnCancel: true, Name: leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				o.Log.Info("leading: this process writes statuses", zap.String("identity", o.Identity))
				lead(true)
			},
			OnStoppedLeading: func() { lead(false) },
			OnNewLeader: func(identity string) {
				if identity != o.Identity {
					o.Log.Info("another process leads", zap.String("identity", identity))
				}
			},
		},
	})
	if err != nil {
		return err
	}
	for ctx.Err() == nil {
		elector.Run(ctx) // returns when the Lease is lost
	}
	return nil
}
