package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// environment returns a container's variables and the same as a map, for $(NAME).
func (p *pod) environment(ctx context.Context, c *corev1.Container) ([]string, map[string]string, error) {
	values := map[string]string{}
	var order []string
	set := func(name, value string) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = value
	}
	set("PATH", "/bin:/usr/bin:/usr/local/bin")
	set("HOSTNAME", p.hostname())
	set("HOME", "/root")
	set("KUBERNETES_SERVICE_HOST", p.agent.apiServer)
	set("KUBERNETES_SERVICE_PORT", "443")
	set("KUBERNETES_SERVICE_PORT_HTTPS", "443")
	for _, from := range c.EnvFrom {
		data, err := p.envFrom(ctx, &from)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range slices.Sorted(keys(data)) {
			set(from.Prefix+name, string(data[name]))
		}
	}
	for _, e := range c.Env {
		value, ok, err := p.envValue(ctx, c, &e)
		if err != nil {
			return nil, nil, fmt.Errorf("env %s: %w", e.Name, err)
		}
		if ok {
			if e.ValueFrom == nil {
				value = expand(value, values)
			}
			set(e.Name, value)
		}
	}
	env := make([]string, len(order))
	for i, name := range order {
		env[i] = name + "=" + values[name]
	}
	return env, values, nil
}

func (p *pod) envFrom(ctx context.Context, from *corev1.EnvFromSource) (map[string][]byte, error) {
	switch {
	case from.SecretRef != nil:
		return p.data(ctx, "Secret", from.SecretRef.Name, from.SecretRef.Optional)
	case from.ConfigMapRef != nil:
		return p.data(ctx, "ConfigMap", from.ConfigMapRef.Name, from.ConfigMapRef.Optional)
	}
	return nil, nil
}

// envValue returns one variable; ok is false if it is optional and missing.
func (p *pod) envValue(ctx context.Context, c *corev1.Container, e *corev1.EnvVar) (value string, ok bool, err error) {
	from := e.ValueFrom
	switch {
	case from == nil:
		return e.Value, true, nil
	case from.FieldRef != nil:
		value, err = p.field(from.FieldRef.FieldPath)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err = amount(c, from.ResourceFieldRef)
		return value, true, err
	case from.SecretKeyRef != nil:
		return p.oneKey(ctx, "Secret", from.SecretKeyRef.Name, from.SecretKeyRef.Key, from.SecretKeyRef.Optional)
	case from.ConfigMapKeyRef != nil:
		return p.oneKey(ctx, "ConfigMap", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Optional)
	}
	return "", false, fmt.Errorf("source is not supported")
}

func (p *pod) oneKey(ctx context.Context, kind, name, key string, optional *bool) (string, bool, error) {
	data, err := p.data(ctx, kind, name, optional)
	if err != nil {
		return "", false, err
	}
	value, ok := data[key]
	if !ok && (optional == nil || !*optional) {
		return "", false, fmt.Errorf("%s %s has no key %s", kind, name, key)
	}
	return string(value), ok, nil
}

// data returns what a Secret or ConfigMap of the Pod's namespace holds, nil if it
// is optional and missing.
func (p *pod) data(ctx context.Context, kind, name string, optional *bool) (map[string][]byte, error) {
	data := map[string][]byte{}
	var err error
	if kind == "Secret" {
		var s *corev1.Secret
		if s, err = p.agent.client.CoreV1().Secrets(p.namespace).Get(ctx, name, metav1.GetOptions{}); err == nil {
			data = s.Data
		}
	} else {
		var m *corev1.ConfigMap
		if m, err = p.agent.client.CoreV1().ConfigMaps(p.namespace).Get(ctx, name, metav1.GetOptions{}); err == nil {
			for key, text := range m.Data {
				data[key] = []byte(text)
			}
			for key, bytes := range m.BinaryData {
				data[key] = bytes
			}
		}
	}
	if apierrors.IsNotFound(err) && optional != nil && *optional {
		return nil, nil
	}
	return data, err
}

// field returns what a fieldRef names.
func (p *pod) field(path string) (string, error) {
	o := p.object()
	if kind, key, ok := strings.Cut(path, "['"); ok {
		key = strings.TrimSuffix(key, "']")
		switch kind {
		case "metadata.labels":
			return o.Labels[key], nil
		case "metadata.annotations":
			return o.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return o.Name, nil
	case "metadata.namespace":
		return o.Namespace, nil
	case "metadata.uid":
		return string(o.UID), nil
	case "metadata.labels":
		return lines(o.Labels), nil
	case "metadata.annotations":
		return lines(o.Annotations), nil
	case "spec.nodeName":
		return o.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return o.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return p.agent.config.Address, nil
	case "status.podIP", "status.podIPs":
		return p.sandbox.addr.String(), nil
	}
	return "", fmt.Errorf("field %s is not supported", path)
}

// amount returns a limit or request, rounded up in units of its divisor. A limit
// that is not set is one CPU, or 1 GiB.
func amount(c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list := c.Resources.Limits
	if kind == "requests" {
		list = c.Resources.Requests
	}
	q, ok := list[corev1.ResourceName(name)]
	milli := q.MilliValue()
	if !ok && kind == "limits" {
		milli = map[string]int64{"cpu": 1000, "memory": 1 << 30 * 1000}[name]
	}
	divisor := ref.Divisor.MilliValue()
	if divisor == 0 {
		divisor = 1000
	}
	return fmt.Sprint((milli + divisor - 1) / divisor), nil
}

func lines(m map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(keys(m)) {
		fmt.Fprintf(&b, "%s=%q\n", key, m[key])
	}
	return b.String()
}

func keys[V any](m map[string]V) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

// expand replaces $(NAME) by the variable if there is one; $$ is a dollar sign.
func expand(text string, values map[string]string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(text, "$")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		text = after
		if rest, ok := strings.CutPrefix(after, "$"); ok {
			b.WriteByte('$')
			text = rest
			continue
		}
		if inner, ok := strings.CutPrefix(after, "("); ok {
			if name, rest, ok := strings.Cut(inner, ")"); ok {
				if value, ok := values[name]; ok {
					b.WriteString(value)
					text = rest
					continue
				}
			}
		}
		b.WriteByte('$')
	}
}
