package plugin

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/core/oci"
)

// load tries until it succeeds, fails for good, or ctx ends.
func (m *Manager) load(ctx context.Context, r *Runtime) {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		err := m.attempt(ctx, r)
		if len(m.loads) == 0 {
			// Loading leaves the module's bytes several times over as garbage, which
			// an idle proxy would keep until its next collection.
			debug.FreeOSMemory()
		}
		if err == nil || ctx.Err() != nil {
			return
		}
		passes := m.fail(r, err)
		if !passes {
			return
		}
		select {
		case <-time.After(wait):
		case <-r.kick:
			wait = firstRetry
		case <-ctx.Done():
			return
		}
	}
}

func (m *Manager) attempt(ctx context.Context, r *Runtime) error {
	f := r.latest.Load()
	s, running, err := m.prepare(ctx, f, func(s State) {
		if r.State().Phase != Failed {
			m.set(r, s)
		}
	})
	if err != nil {
		return err
	}
	r.running = running
	r.gate = gate{running, &r.health, m.o.Engine.Tenant(f.Tenant()), ctx.Done()}
	r.ready.Store(true)
	m.set(r, s)
	m.o.Log.Info("filter ready", zap.Stringer("object", f.Owner), zap.String("plugin", f.ID()), zap.String("digest", s.Digest))
	return nil
}

// prepare pulls, compiles and starts f. It tells that it compiles, and returns
// the state of a filter that is ready.
func (m *Manager) prepare(ctx context.Context, f *config.Filter, tell func(State)) (State, Running, error) {
	img, err := m.pull(ctx, f)
	if err != nil {
		return State{}, nil, err
	}
	defer func() { <-m.loads }()
	guard := f.Guard || img.Manifest.Guard || slices.Contains(grant(f, img), "consumer")
	// Also for one that is about to be refused: its digest is known then.
	tell(State{Phase: Compiling, Digest: img.Digest, Guard: guard})
	if err := admit(f, img, guard); err != nil {
		return State{}, nil, err
	}
	if err := checkConfig(img.Schema, f.Config, f.Private); err != nil {
		return State{}, nil, &Fault{"InvalidConfig", err}
	}
	running, err := m.start(ctx, f, img, guard)
	return State{Phase: Ready, Digest: img.Digest, Guard: guard, Missing: missing(f, img)}, running, err
}

// pull returns the filter's image and holds a token of m.loads. Its place among
// the pulls is held until then, so that few images wait in memory.
func (m *Manager) pull(ctx context.Context, f *config.Filter) (*oci.Image, error) {
	if err := m.pulls.take(ctx, f.Namespace); err != nil {
		return nil, err
	}
	defer m.pulls.give(f.Namespace)
	img, err := m.o.Images.Get(ctx, requestOf(f))
	if err != nil {
		return nil, err
	}
	select {
	case m.loads <- struct{}{}:
		return img, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func requestOf(f *config.Filter) oci.Request {
	return oci.Request{Filter: f.Hash, Reference: f.Image, Namespace: f.Namespace, Credentials: f.PullSecrets, Trust: f.Trust}
}

// admit checks what is only known once the image is: its size, its digest and
// whether it is a guard.
func admit(f *config.Filter, img *oci.Image, guard bool) error {
	if n := int64(len(img.Module)); f.ModuleBytes > 0 && n > f.ModuleBytes {
		return &Fault{"RefusedByPolicy", fmt.Errorf("the module has %d bytes, at most %d by %s: make it smaller, or raise it", n, f.ModuleBytes, f.ModuleSource)}
	}
	if slices.Contains(f.DeniedDigests, img.Digest) {
		return &Fault{"RefusedByPolicy", fmt.Errorf("digest %s is denied by policy", img.Digest)}
	}
	if guard && f.OnError == config.Skip {
		return &Fault{"InvalidConfig", errors.New("onError: skip is refused for a guard: remove it")}
	}
	return nil
}

// grant returns the capabilities that a filter holds (annotations.md, section 3).
func grant(f *config.Filter, img *oci.Image) []string {
	switch f.Grant {
	case config.GrantManifest:
		return img.Manifest.Capabilities
	case config.GrantListed:
		return f.Capabilities
	}
	var both []string
	for _, c := range img.Manifest.Capabilities {
		if slices.Contains(f.Capabilities, c) {
			both = append(both, c)
		}
	}
	return both
}

// missing returns what the image asks for and the filter does not hold.
func missing(f *config.Filter, img *oci.Image) (names []string) {
	held := grant(f, img)
	for _, c := range img.Manifest.Capabilities {
		if !slices.Contains(held, c) {
			names = append(names, c)
		}
	}
	return names
}

func (m *Manager) start(ctx context.Context, f *config.Filter, img *oci.Image, guard bool) (Running, error) {
	permit := func() error { return m.permit(f.Tenant()) }
	permitted := permit
	module, err := m.o.Engine.LoadIf(ctx, img.Module, func() error {
		permitted = nil
		return permit()
	})
	if err != nil {
		return nil, err
	}
	if err := m.prove(ctx, f, img, permitted); err != nil {
		module.Close()
		return nil, err
	}
	for _, abi := range m.o.ABIs {
		if (img.Manifest.ABI == "" || img.Manifest.ABI == abi.Name()) && abi.Detect(module) {
			return abi.Start(ctx, module, f, config.Loaded{
				Digest: img.Digest, Grant: grant(f, img),
				// A canary's trap must not reach those who do not try it.
				MultiConfig: img.Manifest.MultiConfig && !strings.HasSuffix(f.Name, config.CanarySuffix),
				Connections: img.Manifest.Connections || !guard && (f.Owner.Kind == "TCPRoute" || f.Owner.Kind == "TLSRoute"),
			})
		}
	}
	module.Close()
	return nil, &Fault{"UnknownABI", errors.New("the module exports no ABI that is known here: want a proxy_abi_version_0_1_0, _0_2_0 or _0_2_1 marker, or handle_request and handle_response (http-wasm)")}
}

// fail records why an attempt failed; passes says that trying again may help.
func (m *Manager) fail(r *Runtime, err error) (passes bool) {
	if waits(err) {
		m.delay(r, err)
		return true
	}
	reason, passes := reasonOf(err)
	old := r.State()
	if old.Phase != Failed || old.Message != err.Error() {
		m.o.Log.Warn("filter cannot run", zap.Stringer("object", r.config.Owner), zap.String("plugin", r.config.ID()),
			zap.String("image", r.config.Image), zap.String("reason", reason), zap.Error(err))
		m.set(r, State{Phase: Failed, Reason: reason, Message: err.Error(), Digest: old.Digest, Guard: old.Guard})
	}
	return passes
}

// reasonOf returns the reason that is told for a failed attempt; passes says that
// trying again may help.
func reasonOf(err error) (reason string, passes bool) {
	reason = "InvalidModule"
	var fault *Fault
	switch {
	case errors.As(err, &fault):
		reason = fault.Reason
	case errors.Is(err, oci.ErrForbidden):
		reason, passes = "PullForbidden", true
	case errors.Is(err, oci.ErrUnavailable):
		reason, passes = "ImageUnavailable", true
	case errors.Is(err, oci.ErrSignature):
		reason, passes = "SignatureInvalid", true
	case errors.Is(err, oci.ErrDigest):
		reason = "DigestMismatch"
	case errors.Is(err, oci.ErrReference):
		reason = "InvalidConfig"
	}
	return reason, passes
}
