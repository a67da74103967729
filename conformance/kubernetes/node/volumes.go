package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// file is one file of a volume.
type file struct {
	data []byte
	mode fs.FileMode
}

// volume is one volume of a Pod: a folder of the node.
type volume struct {
	spec  *corev1.Volume
	dir   string
	files map[string]file // what was written last

	token   map[string][]byte // by path in the volume
	renewAt map[string]time.Time
}

// writeVolumes writes all volumes, or what has changed in them. It returns when a
// token has to be renewed, zero if there is none.
func (p *pod) writeVolumes(ctx context.Context) (renew time.Time, err error) {
	p.volumesMu.Lock()
	defer p.volumesMu.Unlock()
	spec := p.object().Spec
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		known := p.volumes[v.Name]
		if known == nil {
			known = &volume{spec: v, dir: filepath.Join(p.dir, "volumes", v.Name), token: map[string][]byte{}, renewAt: map[string]time.Time{}}
			if err := os.MkdirAll(known.dir, 0o755); err != nil {
				return renew, err
			}
			p.volumes[v.Name] = known
		}
		if err := p.writeVolume(ctx, known); err != nil {
			return renew, fmt.Errorf("volume %s: %w", v.Name, err)
		}
		for _, at := range known.renewAt {
			if renew.IsZero() || at.Before(renew) {
				renew = at
			}
		}
	}
	return renew, nil
}

func (p *pod) writeVolume(ctx context.Context, v *volume) error {
	if e := v.spec.EmptyDir; e != nil {
		if err := os.Chmod(v.dir, 0o777); err != nil {
			return err
		}
		return p.own(v.dir)
	}
	files := map[string]file{}
	var err error
	switch s := v.spec; {
	case s.Secret != nil:
		err = p.collect(ctx, files, "Secret", s.Secret.SecretName, s.Secret.Items, s.Secret.DefaultMode, s.Secret.Optional)
	case s.ConfigMap != nil:
		err = p.collect(ctx, files, "ConfigMap", s.ConfigMap.Name, s.ConfigMap.Items, s.ConfigMap.DefaultMode, s.ConfigMap.Optional)
	case s.DownwardAPI != nil:
		err = p.downward(files, s.DownwardAPI.Items, s.DownwardAPI.DefaultMode)
	case s.Projected != nil:
		err = p.project(ctx, files, v)
	default:
		err = errors.New("this kind of volume is not supported")
	}
	if err != nil {
		return err
	}
	if same(files, v.files) {
		return nil
	}
	if err := v.write(files); err != nil {
		return err
	}
	v.files = files
	return p.own(v.dir)
}

// own gives a volume to the Pod's fsGroup.
func (p *pod) own(dir string) error {
	c := p.object().Spec.SecurityContext
	if c == nil || c.FSGroup == nil || !p.agent.groups.has(*c.FSGroup) {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if err := os.Chown(path, -1, int(*c.FSGroup)); err != nil {
			return err
		}
		mode := info.Mode().Perm() | info.Mode().Perm()&0o700>>3
		if d.IsDir() {
			mode |= fs.ModeSetgid
		}
		return os.Chmod(path, mode)
	})
}

func (p *pod) collect(ctx context.Context, files map[string]file, kind, name string, items []corev1.KeyToPath, mode *int32, optional *bool) error {
	p.agent.watch(p, kind, name)
	data, err := p.data(ctx, kind, name, optional)
	if err != nil || data == nil {
		return err
	}
	if items == nil {
		for key, text := range data {
			files[key] = file{text, perm(mode, nil)}
		}
		return nil
	}
	for _, item := range items {
		text, ok := data[item.Key]
		if !ok {
			if optional != nil && *optional {
				continue
			}
			return fmt.Errorf("%s %s has no key %s", kind, name, item.Key)
		}
		files[item.Path] = file{text, perm(mode, item.Mode)}
	}
	return nil
}

func (p *pod) downward(files map[string]file, items []corev1.DownwardAPIVolumeFile, mode *int32) error {
	spec := p.object().Spec
	for _, item := range items {
		var text string
		var err error
		switch {
		case item.FieldRef != nil:
			text, err = p.field(item.FieldRef.FieldPath)
		case item.ResourceFieldRef != nil:
			for i := range spec.Containers {
				if spec.Containers[i].Name == item.ResourceFieldRef.ContainerName {
					text, err = amount(&spec.Containers[i], item.ResourceFieldRef)
				}
			}
		}
		if err != nil {
			return err
		}
		files[item.Path] = file{[]byte(text), perm(mode, item.Mode)}
	}
	return nil
}

func (p *pod) project(ctx context.Context, files map[string]file, v *volume) error {
	mode := v.spec.Projected.DefaultMode
	for _, s := range v.spec.Projected.Sources {
		var err error
		switch {
		case s.Secret != nil:
			err = p.collect(ctx, files, "Secret", s.Secret.Name, s.Secret.Items, mode, s.Secret.Optional)
		case s.ConfigMap != nil:
			err = p.collect(ctx, files, "ConfigMap", s.ConfigMap.Name, s.ConfigMap.Items, mode, s.ConfigMap.Optional)
		case s.DownwardAPI != nil:
			err = p.downward(files, s.DownwardAPI.Items, mode)
		case s.ServiceAccountToken != nil:
			if err = p.renew(ctx, v, s.ServiceAccountToken); err == nil {
				files[s.ServiceAccountToken.Path] = file{v.token[s.ServiceAccountToken.Path], perm(mode, nil)}
			}
		default:
			err = errors.New("this projected source is not supported")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// renew asks for a token bound to this Pod, when there is none yet or 80 % of the
// last one's time have gone.
func (p *pod) renew(ctx context.Context, v *volume, t *corev1.ServiceAccountTokenProjection) error {
	if v.token[t.Path] != nil && time.Now().Before(v.renewAt[t.Path]) {
		return nil
	}
	o := p.object()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: t.ExpirationSeconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: o.Name, UID: o.UID},
	}}
	if t.Audience != "" {
		request.Spec.Audiences = []string{t.Audience}
	}
	got, err := p.agent.client.CoreV1().ServiceAccounts(o.Namespace).CreateToken(ctx, o.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("token: %w", err)
	}
	v.token[t.Path] = []byte(got.Status.Token)
	lifetime := time.Until(got.Status.ExpirationTimestamp.Time)
	v.renewAt[t.Path] = time.Now().Add(min(lifetime*8/10, 24*time.Hour))
	return nil
}

func perm(byDefault, own *int32) fs.FileMode {
	switch {
	case own != nil:
		return fs.FileMode(*own)
	case byDefault != nil:
		return fs.FileMode(*byDefault)
	}
	return 0o644
}

func same(a, b map[string]file) bool {
	if b == nil || len(a) != len(b) {
		return false
	}
	for path, f := range a {
		if old, ok := b[path]; !ok || old.mode != f.mode || !bytes.Equal(old.data, f.data) {
			return false
		}
	}
	return true
}

// write replaces the files all at once, as programs that watch the folder expect
// it: the real files are in a new folder, which the link ..data is turned to; all
// other entries are links through it.
func (v *volume) write(files map[string]file) error {
	fresh, err := os.MkdirTemp(v.dir, ".."+time.Now().UTC().Format("2006_01_02_15_04_05."))
	if err != nil {
		return err
	}
	if err := os.Chmod(fresh, 0o755); err != nil {
		return err
	}
	top := map[string]bool{}
	for path, f := range files {
		at := filepath.Join(fresh, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at, f.data, f.mode); err != nil {
			return err
		}
		if err := os.Chmod(at, f.mode); err != nil {
			return err
		}
		first, _, _ := strings.Cut(path, "/")
		top[first] = true
	}
	data := filepath.Join(v.dir, "..data")
	old, _ := os.Readlink(data)
	if err := os.Symlink(filepath.Base(fresh), data+"_tmp"); err != nil {
		return err
	}
	if err := os.Rename(data+"_tmp", data); err != nil {
		return err
	}
	for name := range top {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(v.dir, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") && !top[e.Name()] {
			_ = os.Remove(filepath.Join(v.dir, e.Name()))
		}
	}
	if old != "" {
		return os.RemoveAll(filepath.Join(v.dir, old))
	}
	return nil
}
