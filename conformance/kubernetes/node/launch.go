package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

var errNoImage = errors.New("no program of this machine stands for the image")

// image returns what stands for the container's image.
func (c *container) image() (Image, error) {
	name, _, _ := strings.Cut(c.spec.Image, "@")
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name = name[:at]
	}
	i, ok := c.pod.agent.config.Images[name]
	if !ok {
		return i, fmt.Errorf("%w %s", errNoImage, name)
	}
	return i, nil
}

// launch makes the container's command line and root file system from its spec.
func (c *container) launch(ctx context.Context) (*launch, error) {
	image, err := c.image()
	if err != nil {
		return nil, err
	}
	env, values, err := c.pod.environment(ctx, c.spec)
	if err != nil {
		return nil, configError{err}
	}
	who, err := c.credentials()
	if err != nil {
		return nil, configError{err}
	}
	root := filepath.Join(c.pod.dir, "root", c.spec.Name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	l := &launch{
		Root: root, Program: image.Program, Dir: "/", Env: env,
		User: who.user, Group: who.group, Groups: who.groups,
		Files: c.pod.etc(),
	}
	if c.spec.WorkingDir != "" {
		l.Dir = c.spec.WorkingDir
	}
	argv := c.spec.Command
	if len(argv) == 0 {
		argv = []string{"/bin/" + filepath.Base(image.Program)}
	}
	for _, arg := range append(append([]string{}, argv...), c.spec.Args...) {
		l.Argv = append(l.Argv, expand(arg, values))
	}
	for at, from := range image.Files {
		l.Binds = append(l.Binds, bind{From: from, To: at, ReadOnly: true})
	}
	for _, m := range c.spec.VolumeMounts {
		b, err := c.pod.bind(m)
		if err != nil {
			return nil, configError{err}
		}
		l.Binds = append(l.Binds, b)
	}
	c.confine(l)
	return l, nil
}

// confine sets what the security context says.
func (c *container) confine(l *launch) {
	l.Caps = append([]uintptr{}, defaultCapabilities...)
	if s := c.spec.SecurityContext; s != nil {
		l.ReadOnly = s.ReadOnlyRootFilesystem != nil && *s.ReadOnlyRootFilesystem
		l.NoNew = s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation
		l.Caps = capabilities(l.Caps, s.Capabilities)
		if s.Privileged != nil && *s.Privileged {
			l.Caps = capabilities(nil, &corev1.Capabilities{Add: []corev1.Capability{"ALL"}})
		}
	}
	l.Bounding = l.Caps
}

// bind finds a mount's folder.
func (p *pod) bind(m corev1.VolumeMount) (bind, error) {
	p.volumesMu.Lock()
	defer p.volumesMu.Unlock()
	v := p.volumes[m.Name]
	if v == nil {
		return bind{}, fmt.Errorf("no volume %s", m.Name)
	}
	if m.SubPathExpr != "" {
		return bind{}, errors.New("subPathExpr is not supported")
	}
	from := v.dir
	if m.SubPath != "" {
		if !filepath.IsLocal(m.SubPath) {
			return bind{}, fmt.Errorf("subPath %s leaves the volume", m.SubPath)
		}
		from = filepath.Join(v.dir, m.SubPath)
		if _, err := os.Stat(from); errors.Is(err, os.ErrNotExist) && v.spec.EmptyDir != nil {
			if err := os.MkdirAll(from, 0o777); err != nil {
				return bind{}, err
			}
		}
	}
	return bind{From: from, To: m.MountPath, ReadOnly: m.ReadOnly || v.spec.EmptyDir == nil}, nil
}

// etc are the files that every container has.
func (p *pod) etc() map[string]string {
	o := p.object()
	hosts := fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost\n%s\t%s\n", p.sandbox.addr, p.hostname())
	if o.Spec.Subdomain != "" {
		hosts = fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost\n%s\t%s.%s.%s.svc.cluster.local\t%s\n", p.sandbox.addr, p.hostname(), o.Spec.Subdomain, o.Namespace, p.hostname())
	}
	for _, a := range o.Spec.HostAliases {
		hosts += a.IP + "\t" + strings.Join(a.Hostnames, "\t") + "\n"
	}
	return map[string]string{
		"etc/hosts": hosts, "etc/hostname": p.hostname() + "\n", "etc/resolv.conf": p.resolv(o),
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532:nonroot:/home/nonroot:/bin/sh\n",
		"etc/group":  "root:x:0:\nnonroot:x:65532:\n",
	}
}

func (p *pod) resolv(o *corev1.Pod) string {
	servers, search := []string{p.agent.config.DNS}, []string{o.Namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"}
	options := []string{"ndots:5"}
	if o.Spec.DNSPolicy == corev1.DNSNone {
		servers, search, options = nil, nil, nil
	}
	if c := o.Spec.DNSConfig; c != nil {
		servers = append(servers, c.Nameservers...)
		search = append(search, c.Searches...)
		for _, option := range c.Options {
			text := option.Name
			if option.Value != nil {
				text += ":" + *option.Value
			}
			options = append(options, text)
		}
	}
	var b strings.Builder
	for _, s := range servers {
		b.WriteString("nameserver " + s + "\n")
	}
	if len(search) > 0 {
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	if len(options) > 0 {
		b.WriteString("options " + strings.Join(options, " ") + "\n")
	}
	return b.String()
}
