package harness

import (
	"fmt"
	"strings"
)

// Gateway is a Gateway on ${PORT} and a policy that admits the test's images.
const Gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: penstock}
spec: {controllerName: penstock.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: penstock
  listeners: [{name: http, protocol: HTTP, port: ${PORT}}]
---
apiVersion: penstock.dev/v1alpha1
kind: PluginPolicy
metadata: {name: test}
spec:
  namespaceSelector: {}
  images:
    - {prefix: penstock.dev/plugins, unsigned: true, allowTags: true}
    - {prefix: test.example/plugins, unsigned: true, allowTags: true}
    - {prefix: "127.0.0.1:${REGISTRY}/plugins", unsigned: true, allowTags: true}
  capabilities: [consumer]
`

// GatewayFor returns Gateway for a registry on that port of loopback.
func GatewayFor(registryPort int) string {
	return strings.ReplaceAll(Gateway, "${REGISTRY}", fmt.Sprint(registryPort))
}

// Service returns a Service called name with that annotation (empty: none),
// its route under the path prefix /name, and its endpoint.
func Service(name, annotation string, endpointPort int) string {
	meta := ""
	if annotation != "" {
		meta = "\n  annotations:\n    penstock.dev/plugins: |\n      " + strings.ReplaceAll(strings.TrimSpace(annotation), "\n", "\n      ")
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata:
  name: %[1]s%[2]s
spec:
  ports: [{name: http, port: 80, targetPort: %[3]d}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: %[1]s-1
  labels: {kubernetes.io/service-name: %[1]s}
addressType: IPv4
ports: [{name: http, port: %[3]d}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %[1]s}
spec:
  parentRefs: [{name: edge}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /%[1]s}}]
      backendRefs: [{name: %[1]s, port: 80}]
`, name, meta, endpointPort)
}
