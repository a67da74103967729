package rights_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// everything is an object of each kind that control reads, in the namespace
// NAMESPACE, so that each of its rights is used.
const everything = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: NAMESPACE}
spec: {controllerName: penstock.dev/gateway-controller}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: words, namespace: NAMESPACE}
data: {more: "response: {headers: {set: {X-From: words}}}"}
---
apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: NAMESPACE}
spec: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NAMESPACE}}}
---
apiVersion: penstock.dev/v1alpha1
kind: Plugin
metadata: {name: NAMESPACE}
spec: {versions: [{name: "1", image: "penstock.dev/plugins/transform:1"}]}
---
apiVersion: penstock.dev/v1alpha1
kind: PluginChain
metadata: {name: one, namespace: NAMESPACE}
spec: {plugins: [{name: t, use: transform, config: {response: {headers: {set: {X-Chain: one}}}}}]}
---
apiVersion: penstock.dev/v1alpha1
kind: CachePurge
metadata: {name: one, namespace: NAMESPACE}
spec: {tags: [t]}
---
apiVersion: penstock.dev/v1alpha1
kind: Consumer
metadata: {name: one, namespace: NAMESPACE}
spec: {credentials: [{name: one-key}]}
---
apiVersion: penstock.dev/v1alpha1
kind: ProxyParameters
metadata: {name: one, namespace: NAMESPACE}
spec: {}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: NAMESPACE}
spec:
  gatewayClassName: penstock
  allowedListeners: {namespaces: {from: Same}}
  infrastructure: {labels: {a: b}, parametersRef: {group: penstock.dev, kind: ProxyParameters, name: one}}
  listeners:
  - {name: http, port: 80, protocol: HTTP}
  - {name: https, port: 443, protocol: HTTPS, hostname: a.example, tls: {certificateRefs: [{name: cert}]}}
  - {name: tls, port: 8443, protocol: TLS, tls: {mode: Passthrough}}
  - {name: tcp, port: 9000, protocol: TCP}
  - {name: udp, port: 9001, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: more, namespace: NAMESPACE}
spec:
  parentRef: {name: edge}
  listeners: [{name: other, port: 81, protocol: HTTP}]
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: NAMESPACE
  annotations:
    penstock.dev/plugins: "[{use: transform, configFrom: [{configMapKeyRef: {name: words, key: more}}]}]"
spec: {selector: {app: nobody}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: raw, namespace: NAMESPACE}
spec: {selector: {app: nobody}, ports: [{name: tcp, port: 80, targetPort: 8080}, {name: udp, protocol: UDP, port: 81, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata:
  name: broken
  namespace: NAMESPACE
  annotations: {penstock.dev/plugins: "- use: nobody-has-it"}
spec: {selector: {app: nobody}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: NAMESPACE}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /}}]
    filters: [{type: ExtensionRef, extensionRef: {group: penstock.dev, kind: PluginChain, name: one}}]
    backendRefs: [{name: web, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /broken}}]
    backendRefs: [{name: broken, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: web, namespace: NAMESPACE}
spec: {parentRefs: [{name: edge, sectionName: https}], rules: [{backendRefs: [{name: web, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: raw, namespace: NAMESPACE}
spec: {parentRefs: [{name: edge, sectionName: tls}], hostnames: [b.example], rules: [{backendRefs: [{name: raw, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: raw, namespace: NAMESPACE}
spec: {parentRefs: [{name: edge, sectionName: tcp}], rules: [{backendRefs: [{name: raw, port: 80}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: raw, namespace: NAMESPACE}
spec: {parentRefs: [{name: edge, sectionName: udp}], rules: [{backendRefs: [{name: raw, port: 81}]}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: web, namespace: NAMESPACE}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  validation: {hostname: web.example, wellKnownCACertificates: System}
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: one, namespace: NAMESPACE}
spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}], to: [{group: "", kind: Service}]}
`

// gateway is one that has a Secret's certificate.
func gateway(name, listener string) string {
	return fmt.Sprintf("apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: %s, namespace: NAMESPACE}\nspec:\n  gatewayClassName: penstock\n  listeners: [%s]\n", name, listener)
}

const httpsListener = "{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}"

// certificate is a Secret with one.
func certificate(t *testing.T, name, hostname string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: hostname}, DNSNames: []string{hostname}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: NAMESPACE}\ntype: kubernetes.io/tls\nstringData:\n  tls.crt: %q\n  tls.key: %q\n", name,
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
}
