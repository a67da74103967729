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
	// Spec is what differs from the defaults.
	Spec ProxyParametersSpec `json:"spec"`
	// Status says whether it can be applied.
	Status ObjectStatus `json:"status,omitempty"`
}

// ProxyParametersSpec is the body of a ProxyParameters. What is not set stays
// as the GatewayClass' parameters, or the default, have it.
type ProxyParametersSpec struct {
	// TrustedProxies are addresses and prefixes of peers whose identity fields
	// (X-Forwarded-For and others) are kept.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || isCIDR(self) && cidr(self) == cidr(self).masked()",message="want an address, or a prefix as 10.0.0.0/8 without bits beyond its length"
	TrustedProxies []string `json:"trustedProxies,omitempty"`
	// ProxyProtocol names the peers that say who a connection's client is.
	ProxyProtocol *ParameterProxyProtocol `json:"proxyProtocol,omitempty"`
	// Timeouts of connections and messages.
	Timeouts *ParameterTimeouts `json:"timeouts,omitempty"`
	// Limits of messages and connections.
	Limits *ParameterLimits `json:"limits,omitempty"`
	// Forwarded is what the proxy adds to messages about itself and the client.
	Forwarded *ParameterForwarding `json:"forwarded,omitempty"`
	// TLS is how clients' connections are secured.
	TLS *ParameterTLS `json:"tls,omitempty"`
	// SessionPersistence is about the tokens of routes' session persistence.
	SessionPersistence *ParameterSessions `json:"sessionPersistence,omitempty"`
	// HTTP3 is about the UDP side of HTTPS listeners.
	HTTP3 *ParameterHTTP3 `json:"http3,omitempty"`
	// Redis is the server that plugins with capability redis use.
	Redis *ParameterRedis `json:"redis,omitempty"`

	// TrustedHops is not supported yet: name the proxies in trustedProxies.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	TrustedHops json.RawMessage `json:"trustedHops,omitempty"`
	// AccessLog is not supported yet: use the flag --access-log.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	AccessLog json.RawMessage `json:"accessLog,omitempty"`
	// Admin is not supported yet: use the flag --admin.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Admin json.RawMessage `json:"admin,omitempty"`
	// Health is not supported yet: use the flag --health.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Health json.RawMessage `json:"health,omitempty"`
}

// ParameterProxyProtocol is how PROXY protocol is used.
type ParameterProxyProtocol struct {
	// Sources are addresses and prefixes whose connections begin with a header.
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:XValidation:rule="isIP(self) || isCIDR(self) && cidr(self) == cidr(self).masked()",message="want an address, or a prefix as 10.0.0.0/8 without bits beyond its length"
	Sources []string `json:"sources,omitempty"`
	// Upstreams are Services whose raw connections (TCPRoute, TLSRoute) begin with one.
	// +kubebuilder:validation:MaxItems=256
	Upstreams []ProxyProtocolUpstream `json:"upstreams,omitempty"`
}

// ProxyProtocolUpstream is a Service that wants to know who a connection's client is.
type ProxyProtocolUpstream struct {
	// Service is name, of the object's namespace, or namespace/name.
	// +kubebuilder:validation:MaxLength=127
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",message="want the name of a Service, or namespace/name"
	Service string `json:"service"`
	// Version of the header, 1 or 2; default 2.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=2
	Version int32 `json:"version,omitempty"`
}

// ParameterHTTP3 is how HTTP/3 is served.
type ParameterHTTP3 struct {
	// Enabled: HTTPS listeners serve it on the UDP port of the same number.
	Enabled *bool `json:"enabled,omitempty"`
}

// ParameterTimeouts are durations as "10s".
type ParameterTimeouts struct {
	// Header is the time from a head's first byte to its end, and of a TLS handshake, 100ms to 5m; default 10s.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('5m')",message="want a duration from 100ms to 5m"
	Header string `json:"header,omitempty"`
	// Idle is the time between requests, and between two parts of a body, 1s to 1h; default 60s.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="want a duration from 1s to 1h"
	Idle string `json:"idle,omitempty"`
	// Tunnel is the time of an upgraded connection, a tunnel or a stream without a byte, 1s to 168h; default 1h.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('168h')",message="want a duration from 1s to 168h"
	Tunnel string `json:"tunnel,omitempty"`
	// TCPIdle is the time of a raw connection without a byte either way, 1s to 168h; default 1h.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('168h')",message="want a duration from 1s to 168h"
	TCPIdle string `json:"tcpIdle,omitempty"`
	// UDPIdle is the time of a flow of datagrams without one either way, 1s to 1h; default 30s.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('1h')",message="want a duration from 1s to 1h"
	UDPIdle string `json:"udpIdle,omitempty"`
	// Connect is the time of connecting to an endpoint, 10ms to 1m; default 5s.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('10ms') && duration(self) <= duration('1m')",message="want a duration from 10ms to 1m"
	Connect string `json:"connect,omitempty"`
	// Response is the time from the request sent to the response's head, 100ms to 1h; default 60s.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('100ms') && duration(self) <= duration('1h')",message="want a duration from 100ms to 1h"
	Response string `json:"response,omitempty"`
}

// ParameterLimits are sizes as "8Ki", and counts.
type ParameterLimits struct {
	// RequestLine is the size of a request's first line, 1Ki to 64Ki; default 8Ki.
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+(Ki|Mi|Gi|k|M|G)?$') && quantity(self).compareTo(quantity('1Ki')) >= 0 && quantity(self).compareTo(quantity('64Ki')) <= 0",message="want a size from 1Ki to 64Ki"
	RequestLine string `json:"requestLine,omitempty"`
	// Headers is the size of all fields of a head, 4Ki to 1Mi; default 64Ki.
	// +kubebuilder:validation:MaxLength=16
	// +kubebuilder:validation:XValidation:rule="self.matches('^[0-9]+(Ki|Mi|Gi|k|M|G)?$') && quantity(self).compareTo(quantity('4Ki')) >= 0 && quantity(self).compareTo(quantity('1Mi')) <= 0",message="want a size from 4Ki to 1Mi"
	Headers string `json:"headers,omitempty"`
	// HeaderFields is the number of fields of a head, 10 to 1000; default 100.
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=1000
	HeaderFields *int64 `json:"headerFields,omitempty"`
	// PerClient is the number of connections of one client; default, and 0: no bound.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	PerClient *int64 `json:"connectionsPerClient,omitempty"`
	// MinRate is how slow a client may be that is waited for; default 100, 0: no bound.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MinRate *int64 `json:"minBytesPerSecond,omitempty"`
	// Flows of datagrams of one listener; default 10000.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Flows *int64 `json:"flows,omitempty"`
	// FlowsPerClient of datagrams of one client; default 1000, 0: no bound.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	FlowsPerClient *int64 `json:"flowsPerClient,omitempty"`
	// Connections to one endpoint; default 1024.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Connections *int64 `json:"connections,omitempty"`
	// IdleConnections to one endpoint that are kept for reuse; default 128.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	IdleConnections *int64 `json:"idleConnections,omitempty"`
	// Pending is how many exchanges may wait for a connection to one endpoint; default 1024.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Pending *int64 `json:"pending,omitempty"`
}

// ParameterForwarding is what the proxy says of itself and of the client.
type ParameterForwarding struct {
	// Headers adds X-Forwarded-* and Forwarded.
	Headers *bool `json:"headers,omitempty"`
	// Via is this proxy's name in Via; "" for none.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z0-9._-]*$')",message="want a name of letters, digits, - . _, or \"\" for none"
	Via *string `json:"via,omitempty"`
}

// ParameterTLS is how clients' certificates are treated.
type ParameterTLS struct {
	// ClientCertificates is for listeners whose Gateway asks for them.
	ClientCertificates *ParameterClients `json:"clientCertificates,omitempty"`
	// SessionTickets are shared by proxies.
	SessionTickets *ParameterTickets `json:"sessionTickets,omitempty"`
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
	// Name of the object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// ParameterClients holds for listeners whose Gateway has authorities for clients
// (spec.tls.frontend).
type ParameterClients struct {
	// Optional lets clients without a certificate in.
	Optional *bool `json:"optional,omitempty"`
	// SubjectAltNames: a certificate must have one of them.
	// +kubebuilder:validation:MaxItems=64
	SubjectAltNames []ParameterName `json:"subjectAltNames,omitempty"`
	// Forward names the fields that tell the upstream of it.
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:items:Enum=X-Forwarded-Client-Cert;Client-Cert
	Forward []string `json:"forward,omitempty"`
}

// ParameterName is a hostname or a URI.
//
// +kubebuilder:validation:XValidation:rule="has(self.hostname) != has(self.uri)",message="want one of hostname and uri"
type ParameterName struct {
	// Hostname is a DNS name, or "*.domain".
	// +kubebuilder:validation:MaxLength=253
	Hostname string `json:"hostname,omitempty"`
	// URI is absolute, as spiffe://domain/path.
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:XValidation:rule="self.matches('^[A-Za-z][A-Za-z0-9+.-]*:')",message="want an absolute URI, as spiffe://domain/path"
	URI string `json:"uri,omitempty"`
}

// ParameterRedis is the server that plugins with capability redis use.
//
// +kubebuilder:validation:XValidation:rule="!has(self.username) || has(self.passwordSecretRef)",message="username: a user needs a password: set passwordSecretRef"
type ParameterRedis struct {
	// Address is hostname:port.
	// +kubebuilder:validation:MaxLength=260
	// +kubebuilder:validation:XValidation:rule="self.matches('^([a-z0-9]([a-z0-9.-]*[a-z0-9])?|[[][0-9a-f:.]+[]]):[0-9]{1,5}$')",message="want hostname:port"
	Address string `json:"address"`
	// Database is its number, 0 to 65535; default 0.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Database int64 `json:"database,omitempty"`
	// Username; default: the default user.
	// +kubebuilder:validation:MaxLength=256
	Username string `json:"username,omitempty"`
	// PasswordSecretRef is a key of a Secret of the same namespace. It needs no
	// label: plugins never read it.
	PasswordSecretRef *KeyRef `json:"passwordSecretRef,omitempty"`
	// TLS encrypts the connection; {} with the defaults.
	TLS *RedisTLS `json:"tls,omitempty"`
	// Timeout of one command, 1ms to 30s; default 1s.
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) >= duration('1ms') && duration(self) <= duration('30s')",message="want a duration from 1ms to 30s"
	Timeout string `json:"timeout,omitempty"`
	// Connections to the server, 1 to 64; default 4.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	Connections *int64 `json:"connections,omitempty"`
}

// RedisTLS encrypts the connection.
type RedisTLS struct {
	// ServerName is what the certificate must be for; default: the address'.
	ServerName string `json:"serverName,omitempty"`
	// CA is who must vouch for it, in PEM; default: the system's authorities.
	CA *ConfigSource `json:"ca,omitempty"`
}
