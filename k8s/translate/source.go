package translate

import (
	"fmt"
	"strings"

	"penstock.dev/penstock/core/config"
	"penstock.dev/penstock/k8s/api"
)

// source reads a key of a ConfigMap or Secret of the place's namespace.
func (r *run) source(at *place, s *api.ConfigSource, field string) (value string, found bool, err error) {
	if ref := s.SecretKeyRef; ref != nil {
		secret := r.secret(at.namespace, ref.Name)
		if secret != nil && secret.Labels[api.LabelPluginSecret] != "true" {
			return "", false, refuse("SecretMissing", "%s.secretKeyRef: Secret %s does not carry the label %s: \"true\"", field, ref.Name, api.LabelPluginSecret)
		}
		if secret != nil {
			if data, ok := secret.Data[ref.Key]; ok {
				return string(data), true, nil
			}
		}
		if u := r.unread(config.Object{Kind: "Secret", Namespace: at.namespace, Name: ref.Name}); u != nil && secret == nil { // it is there
			return "", false, refuse("SecretMissing", "%s.secretKeyRef: %s cannot be read", field, u)
		}
		if ref.Optional {
			return "", false, nil
		}
		return "", false, refuse("SecretMissing", "%s.secretKeyRef: there is no Secret %s with the key %s in namespace %s", field, ref.Name, ref.Key, at.namespace)
	}
	ref := s.ConfigMapKeyRef
	m := r.configMap(at.namespace, ref.Name)
	if u := r.unread(config.Object{Kind: "ConfigMap", Namespace: at.namespace, Name: ref.Name}); u != nil && m == nil {
		return "", false, fmt.Errorf("%s.configMapKeyRef: %s cannot be read", field, u)
	}
	if m != nil {
		if data, ok := m.Data[ref.Key]; ok {
			return data, true, nil
		}
		if data, ok := m.BinaryData[ref.Key]; ok {
			return string(data), true, nil
		}
	}
	if ref.Optional {
		return "", false, nil
	}
	return "", false, fmt.Errorf("%s.configMapKeyRef: there is no ConfigMap %s with the key %s in namespace %s", field, ref.Name, ref.Key, at.namespace)
}

func (r *run) environment(at *place, e *api.Entry) ([]config.EnvVar, error) {
	var env []config.EnvVar
	for i, v := range e.Env {
		value := v.Value
		if v.ValueFrom != nil {
			field := fmt.Sprintf("env[%d].valueFrom", i)
			from, found, err := r.source(at, v.ValueFrom, field)
			if err != nil {
				return nil, err
			}
			if !found {
				continue
			}
			if strings.ContainsRune(from, 0) || len(from) > maxSourceBytes {
				return nil, fmt.Errorf("%s: the value holds a NUL or is too long", field)
			}
			value = from
		}
		env = append(env, config.EnvVar{Name: v.Name, Value: value})
	}
	return env, nil
}
