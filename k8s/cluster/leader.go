package cluster

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	// newcomerWait is how long a process that has just begun lets others go first: they
	// know what ran. Longer than anybody waits between two attempts, which is 2.2 times
	// leaseRetry.
	newcomerWait = 5 * time.Second
	// abandoned is how long ago the Lease was renewed if there are no others.
	abandoned = time.Minute
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
		Lock: &toldLock{Interface: lock, health: health{log: o.Log, what: "the Lease " + o.Namespace + "/" + leaseName}}, LeaseDuration: leaseDuration, RenewDeadline: leaseRenew, RetryPeriod: leaseRetry, ReleaseOnCancel: true, Name: leaseName,
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
	letOthers(ctx, client.Leases(o.Namespace), o.Identity)
	for ctx.Err() == nil {
		elector.Run(ctx) // returns when the Lease is lost
	}
	return nil
}

// letOthers waits for newcomerWait if somebody else held the Lease a short while ago.
func letOthers(ctx context.Context, leases coordinationclient.LeaseInterface, identity string) {
	lease, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if err != nil || lease.Spec.RenewTime == nil || time.Since(lease.Spec.RenewTime.Time) > abandoned {
		return // also if it cannot be read: the election tells why
	}
	if holder := lease.Spec.HolderIdentity; holder != nil && *holder == identity {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(newcomerWait):
	}
}

// toldLock is a lock whose errors are logged, once each.
type toldLock struct {
	resourcelock.Interface
	health health
}

// Get implements resourcelock.Interface.
func (l *toldLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	if !apierrors.IsNotFound(err) { // it is about to be made
		l.tell(err)
	}
	return record, raw, err
}

// Create implements resourcelock.Interface.
func (l *toldLock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	err := l.Interface.Create(ctx, r)
	l.tell(err)
	return err
}

// Update implements resourcelock.Interface.
func (l *toldLock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	err := l.Interface.Update(ctx, r)
	l.tell(err)
	return err
}

func (l *toldLock) tell(err error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || errors.Is(err, context.Canceled) {
		return // another process was faster, or this one ends
	}
	l.health.tell(err, "who leads cannot be agreed on")
}
