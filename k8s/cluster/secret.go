package cluster

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Keep reads a Secret of the install namespace and writes it if change wants
// others than it holds; it is made if it is missing. It returns what it holds
// then. Somebody else's write in between makes it begin again.
func (s *Source) Keep(ctx context.Context, name string, change func(data map[string][]byte) (want map[string][]byte, changed bool, err error)) (map[string][]byte, error) {
	client := s.clients.byGV[corev1.SchemeGroupVersion]
	for range 5 {
		var secret corev1.Secret
		err := client.Get().Namespace(s.o.Namespace).Resource("secrets").Name(name).Do(ctx).Into(&secret)
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return nil, fmt.Errorf("secret %s/%s: %w", s.o.Namespace, name, err)
		}
		want, changed, err := change(secret.Data)
		if err != nil {
			return nil, fmt.Errorf("secret %s/%s: %w", s.o.Namespace, name, err)
		}
		if !changed {
			return secret.Data, nil
		}
		secret.Data = want
		if missing {
			secret.ObjectMeta = metav1.ObjectMeta{Namespace: s.o.Namespace, Name: name}
			err = client.Post().Namespace(s.o.Namespace).Resource("secrets").Param("fieldManager", fieldManager).Body(&secret).Do(ctx).Error()
		} else {
			err = client.Put().Namespace(s.o.Namespace).Resource("secrets").Name(name).Param("fieldManager", fieldManager).Body(&secret).Do(ctx).Error()
		}
		s.writer.count("Secret", err)
		if err != nil && !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			return nil, fmt.Errorf("secret %s/%s: %w", s.o.Namespace, name, err)
		}
	}
	return nil, fmt.Errorf("secret %s/%s: others write it all the time", s.o.Namespace, name)
}
