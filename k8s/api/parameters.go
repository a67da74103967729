package api

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ProxyParameters is how the proxies of a GatewayClass or Gateway treat
// connections and messages. Namespace scope; docs/parameters.md has every
// default and range.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=pxp,categories=penstock
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ProxyParameters struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ProxyParametersSpec `json:"spec"`
	Status            ObjectStatus        `json:"status,omitempty"`
}

// ProxyParametersSpec is the body of a ProxyParameters. What is not set stays
// as the GatewayClass' parameters, or the default, have it.
type ProxyParametersSpec struct {
	// TrustedProxies are addresses and prefixes of peers whose identity fields
	// (X-Forwarded-For and others) are kept.
	TrustedProxies []string `json:"trustedProxies,omitempty"`
	// ProxyProtocol names the peers that say who a connection's client is.
	ProxyProtocol *ParameterProxyProtocol `json:"proxyProtocol,omitempty"`
	Timeouts      *ParameterTimeouts      `json:"timeouts,omitempty"`
	Limits        *ParameterLimits        `json:"limits,omitempty"`
	Forwarded     *ParameterForwarding    `json:"forwarded,omitempty"`
	TLS           *ParameterTLS           `json:"tls,omitempty"`
	// SessionPersistence is about the tokens of routes' session persistence.
	SessionPersistence *ParameterSessions `json:"sessionPersistence,omitempty"`
	// HTTP3 is about the UDP side of HTTPS listeners.
	HTTP3 *ParameterHTTP3 `json:"http3,omitempty"`
	Redis *ParameterRedis `json:"redis,omitempty"`

	// These come later, or are flags of the process: an object that has one is
	// refused (NotSupported).
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	TrustedHops json.RawMessage `json:"trustedHops,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	AccessLog json.RawMessage `json:"accessLog,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Admin json.RawMessage `json:"admin,omitempty"`
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Health json.RawMessage `json:"health,omitempty"`
}

// ParameterProxyProtocol is how PROXY protocol is used.
type ParameterProxyProtocol struct {
	// Sources are addresses and prefixes whose connections begin with a header.
	Sources []string `json:"sources,omitempty"`
	// Upstreams are Services whose raw connections (TCPRoute, TLSRoute) begin with one.
	Upstreams []ProxyProtocolUpstream `json:"upstreams,omitempty"`
}

// ProxyProtocolUpstream is a Service that wants to know who a connection's client is.
type ProxyProtocolUpstream struct {
	Service string `json:"service"`           // "name", of the object's namespace, or "namespace/name"
	Version int32  `json:"version,omitempty"` // 1 or 2; default 2
}

// ParameterHTTP3 is how HTTP/3 is served.
type ParameterHTTP3 struct {
	// Enabled: HTTPS listeners serve it on the UDP port of the same number.
	Enabled *bool `json:"enabled,omitempty"`
}

// ParameterTimeouts are durations as "10s".
type ParameterTimeouts struct {
	Header   string `json:"header,omitempty"`
	Idle     string `json:"idle,omitempty"`
	Tunnel   string `json:"tunnel,omitempty"`
	TCPIdle  string `json:"tcpIdle,omitempty"`
	UDPIdle  string `json:"udpIdle,omitempty"`
	Connect  string `json:"connect,omitempty"`
	Response string `json:"response,omitempty"`
}

// ParameterLimits are sizes as "8Ki", and counts.
type ParameterLimits struct {
	RequestLine  string `json:"requestLine,omitempty"`
	Headers      string `json:"headers,omitempty"`
	HeaderFields *int64 `json:"headerFields,omitempty"`
	PerClient    *int64 `json:"connectionsPerClient,omitempty"`
	// MinRate is how slow a client may be.
	MinRate *int64 `json:"minBytesPerSecond,omitempty"`
	// Of datagrams: of one listener, and of one client.
	Flows          *int64 `json:"flows,omitempty"`
	FlowsPerClient *int64 `json:"flowsPerClient,omitempty"`
	// Of one endpoint.
	Connections     *int64 `json:"connections,omitempty"`
	IdleConnections *int64 `json:"idleConnections,omitempty"`
	Pending         *int64 `json:"pending,omitempty"`
}

// ParameterForwarding is what the proxy says of itself and of the client.
type ParameterForwarding struct {
	// Headers adds X-Forwarded-* and Forwarded.
	Headers *bool `json:"headers,omitempty"`
	// Via is this proxy's name in Via; "" for none.
	Via *string `json:"via,omitempty"`
}

// ParameterTLS is how clients' certificates are treated.
type ParameterTLS struct {
	ClientCertificates *ParameterClients `json:"clientCertificates,omitempty"`
	SessionTickets     *ParameterTickets `json:"sessionTickets,omitempty"`
}

// ParameterTickets lets proxies resume each other's sessions.
type ParameterTickets struct {
	// SecretRef is a Secret of the same namespace: each of its values is a secret of
	// 32 bytes at least, that of the last name makes new tickets.
	SecretRef *NameRef `json:"secretRef,omitempty"`
}

// ParameterSessions lets sessions outlive the process, and proxies know each other's.
type ParameterSessions struct {
	// SecretRef is a Secret of the same namespace: each of its values is a key of 32
	// bytes at least, that of the last name makes new tokens.
	SecretRef *NameRef `json:"secretRef,omitempty"`
}

// NameRef names an object of the same namespace.
type NameRef struct {
	Name string `json:"name"`
}

// ParameterClients holds for listeners whose Gateway has authorities for clients
// (spec.tls.frontend).
type ParameterClients struct {
	// Optional lets clients without a certificate in.
	Optional *bool `json:"optional,omitempty"`
	// SubjectAltNames: a certificate must have one of them.
	SubjectAltNames []ParameterName `json:"subjectAltNames,omitempty"`
	// Forward names the fields that tell the upstream of it.
	Forward []string `json:"forward,omitempty"`
}

// ParameterName is a hostname or a URI.
type ParameterName struct {
	Hostname string `json:"hostname,omitempty"`
	URI      string `json:"uri,omitempty"`
}

// ParameterRedis is the server that plugins with capability redis use.
type ParameterRedis struct {
	Address  string `json:"address"` // hostname:port
	Database int64  `json:"database,omitempty"`
	Username string `json:"username,omitempty"`
	// PasswordSecretRef is a key of a Secret of the same namespace. It needs no
	// label: plugins never read it.
	PasswordSecretRef *KeyRef   `json:"passwordSecretRef,omitempty"`
	TLS               *RedisTLS `json:"tls,omitempty"`
	Timeout           string    `json:"timeout,omitempty"` // of one command
	Connections       *int64    `json:"connections,omitempty"`
}

// RedisTLS encrypts the connection.
type RedisTLS struct {
	// ServerName is what the certificate must be for; default: the address'.
	ServerName string `json:"serverName,omitempty"`
	// CA is who must vouch for it, in PEM; default: the system's authorities.
	CA *ConfigSource `json:"ca,omitempty"`
}
