package config

import (
	"regexp"
	"time"
)

// Chain is the joined parts that one exchange runs, outermost first. Two
// chains with the same parts in the same order are equal.
type Chain struct{ Parts []*Part }

// Part is the filters that one object declares: a Service's list, a Route's,
// a policy's overrides. It is memoised per object and shared by the chains
// that it is joined into.
type Part struct {
	Name   string // "service", "route", "rule", "backend", "gateway", "policy"
	Object Object // who declares it
	// Scope tells apart the parts of one object that differ by Service port or
	// listener; empty: one for all.
	Scope string
	// Hash identifies the part's content: equal hashes mean equal parts.
	Hash    string
	Filters []*Filter
	// Fault says why the part cannot run at all; Filters is then empty.
	Fault *Fault
	// Fallback is the part's last good form, judged again by the current
	// policy, Secrets and grants; nil if there is none or it may not serve. It
	// runs until this part is warm, or until FallbackUntil if it never is.
	Fallback      *Part
	FallbackUntil time.Time
	// Previous is the form that ran before this one, judged again; a filter that
	// fails goes back to its form there, if it fails before PreviousUntil. nil:
	// none.
	Previous      *Part
	PreviousUntil time.Time
	// PreviousFault says why what a filter was rolled back to may not run any more;
	// nil: it may, or is not known yet.
	PreviousFault *Fault
}

// PluginCache is the Plugin of a filter that is the response cache.
const PluginCache = "native/cache"

// ScopeBefore is the Scope of a policy's part that runs before all others.
const ScopeBefore = "before"

// Fault is a reason (annotations.md, section 3, ChainStatus) with its text.
type Fault struct {
	Reason  string // "InvalidAnnotation", "RefusedByPolicy", ...
	Message string // names the object, the path and the fix; for operators
}

// OnError says what a failing filter does to its exchange.
type OnError uint8

// The choices.
const (
	Reject OnError = iota
	Skip
)

// Filter is one configured use of a plugin.
type Filter struct {
	Part  string // the part's name
	Name  string // unique in its part; reports say Part/Name
	Owner Object // the declaring object
	// Namespace is whose Services and shared state it reaches: the owner's, the
	// install namespace for a cluster-scoped one.
	Namespace string
	// Plugin is the catalogue entry that it is of, "Plugin/name", "bundled/name" or
	// PluginCache, and PluginVersion its version; empty: the filter names an image.
	Plugin, PluginVersion string
	// Hash identifies the filter runtime: owner, plugin, image, config, env, limits, grant.
	Hash string
	// Cache makes it the response cache, which is native: it has no Image, and of what
	// follows only Except and Declaration. nil: it is a plugin. Of several in a chain the
	// last one counts; no guard comes after it.
	Cache *Cache
	// Image is "registry/repository[:tag][@digest]".
	Image string
	// PullSecrets are shown to the image's registry, in this order.
	PullSecrets []PullCredential
	// Trust lists what must all hold of the image's signature.
	Trust []Trust
	// DeniedDigests of the policies that judge this filter: "sha256:...".
	DeniedDigests []string
	// ModuleBytes is how large its module may be, 0: as the sandbox says;
	// ModuleSource who says so, for operators.
	ModuleBytes  int64
	ModuleSource string
	// Config is what the plugin gets: JSON, or a string as it is.
	Config []byte
	// Private says that part of Config is from a Secret: not even its keys are told.
	Private bool
	Env     []EnvVar
	// Grant says what Capabilities mean.
	Grant        Grant
	Capabilities []string
	// Guard is set if the entry's Plugin says so; a manifest or capability
	// consumer makes it one too, known when the image is loaded.
	Guard   bool
	OnError OnError
	Limits  Limits
	Except  []Except
	// RootID chooses the plugin's root context; VMID names the state that filters
	// of a namespace share, empty: the filter's own; VMConfig is what
	// proxy_on_vm_start gets (Proxy-Wasm).
	RootID, VMID string
	VMConfig     []byte
	HeaderStop   HeaderStop
	// Egress lists what calls out may reach beside the namespace's own Services.
	Egress []Egress
	// Redis is that of the Gateway's parameters; nil: none.
	Redis *Redis
	// Canary is another version of the filter; nil: none. It is no part of Hash.
	Canary *Canary
	// Shadow says that the filter is a Canary that nothing depends on: it shares
	// no state with others.
	Shadow bool
	// Declaration identifies the entry that declares the filter, whatever policy,
	// Secrets and ConfigMaps make of it; no part of Hash.
	Declaration string
	// Entry is that entry, as JSON: whoever runs the filter in the place of one that
	// was rolled back can tell it. Only in what may run again; no part of Hash.
	Entry []byte
	// RolledBack is a digest: if the image has it, the filter is not to run, but its
	// form in the part's Previous is. Empty: it was not rolled back. Not for a guard;
	// no part of Hash.
	RolledBack string
}

// Canary is another version of a filter, to which a share of the exchanges goes.
type Canary struct {
	// Filter's Name is the filter's own with CanarySuffix. nil: Fault says why
	// there is none; the filter itself runs all the same.
	Filter        *Filter
	Fault         *Fault
	WeightPercent int // of exchanges, 0..100
	// Shadow: it is shown copies of these exchanges and decides nothing; else it
	// runs in the filter's place.
	Shadow bool
}

// CanarySuffix follows a filter's name in that of its Canary; no other name has it.
const CanarySuffix = ":canary"

// PullCredential is what a registry is shown; never logged, nor part of a hash.
type PullCredential struct {
	Registry                          string // "host[:port]" or "host[:port]/path"
	Username, Password, IdentityToken string
}

// Trust is a rule of policy about an image's signature.
type Trust struct {
	// Keys verify it, in PEM; one of them must. None: unsigned images are admitted.
	Keys []string
	// Repositories are names that a signature may carry beside the image's own.
	Repositories []string
}

// HeaderStop says what PAUSE in a header callback holds back (Proxy-Wasm).
type HeaderStop uint8

// The choices.
const (
	HeaderStopDefault HeaderStop = iota // by ABI: all, and headers for 0.2.100
	HeaderStopAll                       // headers and body
	HeaderStopHeaders                   // the headers; body callbacks are made
)

// Egress is one destination that a plugin may call.
type Egress struct {
	Hostname string // "name" or "*.domain"
	Ports    []uint16
	CA       *Authorities // of calls over TLS; nil: the system's
}

// Authorities vouch for certificates. Two are equal if their Hash is.
type Authorities struct {
	Hash  string   // of Roots and Fault
	Roots [][]byte `json:"-"` // DER
	// Fault says why there are none: no call over TLS is made. Empty: none.
	Fault string
}

// Tenant returns the namespace whose Totals the filter counts against; empty
// for one that a cluster-scoped object declares.
func (f *Filter) Tenant() string { return f.Owner.Namespace }

// ID returns part/name, as reports say it.
func (f *Filter) ID() string { return f.Part + "/" + f.Name }

// Grant is how a filter's capabilities are decided.
type Grant uint8

// The ways.
const (
	// GrantBoth: what Capabilities, by policy, and the image's manifest both name.
	GrantBoth Grant = iota
	// GrantManifest: what the manifest names; for bundled plugins.
	GrantManifest
	// GrantListed: what Capabilities name; for Plugin objects.
	GrantListed
)

// EnvVar is one variable of the guest's environment.
type EnvVar struct{ Name, Value string }

// Except is requests that skip a filter.
type Except struct {
	PathType PathType
	Path     string
	Regex    *regexp.Regexp
	Methods  []string // empty: any
}

// Limits of one filter. The times are steps at a fixed rate: 1 µs = 1,000 steps.
type Limits struct {
	CPUTime         time.Duration // one guest call after start: 100us..1s, default 20ms
	CPUTimeExchange time.Duration // all calls in one exchange, default 100ms
	CPUTimeStart    time.Duration // _initialize to proxy_on_configure: 10ms..30s, default 5s
	MemoryBytes     int64         // linear memory of one instance: 1Mi..1Gi, default 64Mi
	BodyBytes       int64         // held back of one body: 0..64Mi, default 1Mi
}

// DefaultLimits returns the limits of a filter that names none.
func DefaultLimits() Limits {
	return Limits{
		CPUTime:         20 * time.Millisecond,
		CPUTimeExchange: 100 * time.Millisecond,
		CPUTimeStart:    5 * time.Second,
		MemoryBytes:     64 << 20,
		BodyBytes:       1 << 20,
	}
}

// Loaded is what is known of a filter once its image is there.
type Loaded struct {
	Digest string   // of the image: "sha256:..."
	Grant  []string // the capabilities that it holds
	// MultiConfig: filters of one namespace may share instances, since the module
	// keeps nothing of one root context where another one sees it.
	MultiConfig bool
	// Connections: its callbacks for raw connections are meant. Many modules export
	// all callbacks there are, since their SDK does: those of a guard for HTTP would
	// let everybody in. So the manifest must say it, or a raw route declare the
	// filter, and it be no guard.
	Connections bool
}
